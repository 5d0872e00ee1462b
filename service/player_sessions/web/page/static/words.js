// Times, durations, countries and figures, in words.

const REGIONS = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });
const FIGURES = new Intl.NumberFormat("en");
const SHARES = new Intl.NumberFormat("en", {
  style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1,
});

export const figure = (number) => FIGURES.format(number);
export const share = (part, whole) => SHARES.format(whole ? part / whole : 0);

// `2026-11-25 12:00:00` of `2026-11-25T12:00:00.123Z`
export const moment = (text) => `${text.slice(0, 10)} ${text.slice(11, 19)}`;

// `25 Nov, 12:00` of milliseconds since 1970
export const hour = (ms) => `${day(ms).slice(5)}, ${clock(ms)}`;
export const clock = (ms) => new Date(ms).toISOString().slice(11, 16);
const DAYS = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", timeZone: "UTC",
});
export const day = (ms) => DAYS.format(ms);

export function country(code) {
  const name = REGIONS.of(code);
  if (code === "ZZ") return "Unknown (ZZ)";
  return name ? `${name} (${code})` : code;
}

export function duration(seconds) {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count);
  return parts.slice(first, first + 2).filter(([count]) => count)
    .map(([count, unit]) => `${count} ${unit}`).join(" ");
}
