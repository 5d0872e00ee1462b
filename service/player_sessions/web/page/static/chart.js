// Bars per hour, the series one above the other, drawn by uPlot.

import { figure, hour } from "./words.js";

const HOUR = 3600; // seconds, in which uPlot has times
const HEIGHT = 260;
const WIDEST_BAR = 40; // pixels

export class Chart {
  constructor(element, reading) {
    Object.assign(this, { element, reading, hours: [], series: [] });
    new ResizeObserver(() => this.fit()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Show `series` of {name, starts} over `hours`, which are consecutive (milliseconds since 1970).
  show(hours, series) {
    Object.assign(this, { hours, series });
    this.draw();
  }

  draw() {
    this.plot?.destroy();
    this.plot = undefined;
    if (!this.hours.length) return;
    const x = this.hours.map((ms) => ms / 1000);
    this.plot = new uPlot(this.options(), [x, ...heights(this.series).reverse()], this.element);
    this.read();
  }

  options() {
    const colours = getComputedStyle(this.element);
    const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
    const ends = [this.hours[0] / 1000, this.hours.at(-1) / 1000 + HOUR];
    const axis = {
      stroke: colour("quiet"), font: "12px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 }, ticks: { show: false },
    };
    const bars = uPlot.paths.bars({ size: [0.8, WIDEST_BAR], align: 1 });
    const drawn = this.series.map((_, index) => ({
      fill: colour(`colour-${index}`), width: 0, paths: bars, points: { show: false },
    }));
    return {
      width: this.element.clientWidth, height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { range: () => ends }, y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.05] } },
      series: [{}, ...drawn.reverse()],
      axes: [
        { ...axis, values: TIMES, grid: { show: false } },
        { ...axis, size: 56, incrs: STEPS, values: (_, values) => values.map(figure) },
      ],
      hooks: { setCursor: [(plot) => this.read(plot)] },
    };
  }

  fit() {
    const width = this.element.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  // Say the figures of the hour under the pointer; a bar lies right of its time.
  read(plot) {
    const left = plot?.cursor.left ?? -1;
    const at = left < 0 ? -1 : Math.floor((plot.posToVal(left, "x") * 1000 - this.hours[0]) / (HOUR * 1000));
    if (at < 0 || at >= this.hours.length) {
      this.reading.textContent = "Point at a bar to read its figures.";
      return;
    }
    const parts = this.series.map(({ name, starts }) => `${name} ${figure(starts[at])}`);
    this.reading.textContent = `${hour(this.hours[at])}: ${parts.join(", ")}`;
  }
}

// How high each series reaches when it stands on those before it. The highest is drawn first, and
// the lower ones over it.
function heights(series) {
  const sums = [];
  for (const { starts } of series) {
    sums.push(starts.map((count, index) => count + (sums.at(-1)?.[index] ?? 0)));
  }
  return sums;
}

const STEPS = [1, 2, 5].flatMap((step) => [...Array(12).keys()].map((power) => step * 10 ** power))
  .sort((a, b) => a - b);
// uPlot's own form: [smallest step, format, format at a new year, …month, day, …, mode]
const TIMES = [
  [24 * HOUR, "{D} {MMM}", null, null, null, null, null, null, 1],
  [HOUR, "{HH}:{mm}", null, null, "\n{D} {MMM}", null, null, null, 1],
];
