// The timeline of a player: a row for each day with sessions, and in it a bar for each session.

import { make } from "./elements.js";
import { clock, day, duration } from "./words.js";

const DAY = 86_400_000;
const MOST_DAYS = 40;

// Return the elements of the timeline. Of more days than MOST_DAYS, the newest are shown.
export function timeline(sessions, open) {
  const days = new Map();
  for (const session of [...open, ...sessions]) addTo(days, session);
  const shown = [...days.keys()].sort((a, b) => b - a).slice(0, MOST_DAYS);
  if (!shown.length) return [];
  const hours = ["00", "06", "12", "18", "24"].map((each) => make("span", {}, each));
  const rows = shown.map((start, index) => {
    const gap = index && shown[index - 1] - start > DAY ? "day gap" : "day";
    return make("div", { class: gap },
      make("span", { class: "date" }, day(start)),
      make("div", { class: "lane" }, ...days.get(start)));
  });
  const label = "Timeline of the sessions by day and time. The table below has the same sessions.";
  const made = [make("div", { role: "img", "aria-label": label, class: "days" },
    make("div", { class: "day scale", "aria-hidden": "true" },
      make("span", { class: "date" }), make("div", { class: "hours" }, ...hours)),
    ...rows)];
  if (open.length) made.push(make("p", { class: "note open-note" }, "This session goes on."));
  if (shown.length < days.size) {
    made.push(make("p", { class: "note" }, `The timeline shows the newest ${MOST_DAYS} days.`));
  }
  return made;
}

function addTo(days, session) {
  const began = Date.parse(session.started_at);
  const isOpen = session.status === "open";
  const ended = Math.max(began, isOpen ? Date.now() : Date.parse(session.ended_at));
  const newest = ended - (ended % DAY);
  const oldest = Math.max(began - (began % DAY), newest - MOST_DAYS * DAY);
  for (let start = newest; start >= oldest; start -= DAY) {
    if (!days.has(start)) days.set(start, []);
    const left = Math.max(began - start, 0) / DAY;
    const right = Math.min(ended - start, DAY) / DAY;
    days.get(start).push(bar(session, isOpen, left, right));
  }
}

function bar(session, isOpen, left, right) {
  const began = Date.parse(session.started_at);
  const title = isOpen
    ? `${clock(began)}, goes on, ${session.country}`
    : `${clock(began)}–${clock(Date.parse(session.ended_at))}, `
      + `${duration(session.duration_seconds)}, ${session.country}`;
  const made = make("span", { class: isOpen ? "bar open" : "bar", title });
  made.style.left = `${left * 100}%`;
  made.style.width = `${(right - left) * 100}%`;
  return made;
}
