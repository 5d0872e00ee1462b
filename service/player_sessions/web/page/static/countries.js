// Session starts per country: a chart per hour, and the same figures as tables.

import { ask } from "./client.js";
import { Chart } from "./chart.js";
import { find, make, Section, table } from "./elements.js";
import { country, figure, hour, moment, share } from "./words.js";

const PERIODS = [6, 24, 48, 72, 168];
const DEFAULT = 24;
const MOST = PERIODS.at(-1); // hours that the service lists one by one
const NAMED = 5; // countries with a colour of their own
const OTHERS = "Other countries";

export class Countries extends Section {
  constructor(onRefused, keptHours) {
    super("countries", onRefused);
    this.chart = new Chart(find("#chart"), find("#reading"));
    const most = Math.min(keptHours, MOST);
    const periods = [...PERIODS.filter((hours) => hours < most), most];
    const chosen = periods.includes(DEFAULT) ? DEFAULT : most;
    find("#hours").replaceChildren(...periods.map((hours) => {
      const option = make("option", { value: hours }, inWords(hours));
      option.selected = hours === chosen;
      return option;
    }));
    find("#countries-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.count();
    });
    find("#hours").addEventListener("change", () => this.count());
  }

  count(options) {
    const hours = find("#hours").value;
    return this.run((asking) => this.show(hours, asking), options);
  }

  async show(hours, asking) {
    const counted = await ask(`v1/countries/starts?hours=${hours}&by=hour`, asking);
    this.results.hidden = false;
    const series = stacked(counted);
    this.chart.show(counted.hours.map((each) => Date.parse(each.hour)), series);
    find("#legend").replaceChildren(...series.map(({ name }, index) =>
      make("li", { class: `colour-${index}` }, name)));
    find("#by-country").replaceChildren(countryTable(counted));
    find("#by-hour").replaceChildren(hourTable(counted, series));
    this.say(`${figure(counted.total)} starts from ${moment(counted.from).slice(0, 16)} to `
      + `${moment(counted.to).slice(0, 16)}, counted at ${moment(counted.as_of)}.`);
  }

  fail(error, byUser) {
    if (error.status === 404) this.element.hidden = true; // switched off
    super.fail(error, byUser);
  }
}

function inWords(hours) {
  if (hours === 1) return "the last hour";
  return hours >= 48 && hours % 24 === 0 ? `the last ${hours / 24} days` : `the last ${hours} hours`;
}

// Return the series of the chart, each a name and its starts per hour: most first, the rest as one.
function stacked({ countries, hours }) {
  const of = (each) => new Map(each.countries.map((count) => [count.country, count.starts]));
  const counts = hours.map(of);
  const named = countries.slice(0, countries.length === NAMED + 1 ? NAMED + 1 : NAMED);
  const series = named.map(({ country: code }) =>
    ({ name: country(code), starts: counts.map((each) => each.get(code) ?? 0) }));
  if (named.length < countries.length) {
    const rest = hours.map(({ total }, index) =>
      series.reduce((left, each) => left - each.starts[index], total));
    series.push({ name: OTHERS, starts: rest });
  }
  return series;
}

function countryTable({ countries, total }) {
  const columns = [["Country", ""], ["Starts", "figure"], ["Share", "figure"]];
  const rows = countries.map((count) =>
    [country(count.country), figure(count.starts), share(count.starts, total)]);
  return table("Session starts per country, most first", columns, rows);
}

function hourTable({ hours }, series) {
  const columns = [["Hour from", ""], ["All", "figure"], ...series.map(({ name }) => [name, "figure"])];
  const rows = hours.map(({ hour: text, total }, index) =>
    [hour(Date.parse(text)), figure(total), ...series.map(({ starts }) => figure(starts[index]))]);
  return table("Session starts per hour, the oldest hour first", columns, rows);
}
