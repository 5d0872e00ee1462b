// Look a player up: the latest session, whether the player is online, and the last sessions.

import { ask, Failure } from "./client.js";
import { find, Section, table } from "./elements.js";
import { timeline } from "./timeline.js";
import { country, duration, moment } from "./words.js";

const PAGE = 20;
const COLUMNS = [
  ["Started", "time"], ["Ended", "time"], ["Duration", "figure"], ["Country", ""], ["Session", "id"],
];

export class Player extends Section {
  constructor(onRefused) {
    super("player", onRefused);
    find("#player-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const id = find("#player-id").value.trim();
      if (id) this.run((asking) => this.lookUp(id, asking));
    });
    find("#older").addEventListener("click", () => this.run((asking) => this.older(asking)));
  }

  async lookUp(id, asking) {
    this.results.hidden = true;
    const path = pathOf(id);
    const [player, page] = await Promise.all([
      ask(path, asking),
      ask(`${path}/sessions?limit=${PAGE}`, asking),
    ]);
    Object.assign(this, { path, sessions: page.sessions, cursor: page.next_cursor, player });
    find("#player-name").textContent = player.player_id;
    this.showLatest(player);
    this.showSessions();
    this.results.hidden = false;
    this.say(this.told());
  }

  async older(asking) {
    const cursor = encodeURIComponent(this.cursor);
    const page = await ask(`${this.path}/sessions?limit=${PAGE}&cursor=${cursor}`, asking);
    this.sessions.push(...page.sessions);
    this.cursor = page.next_cursor;
    this.showSessions();
    this.say(this.told());
    if (!this.cursor) find("#history table").focus();
  }

  told() {
    const count = this.sessions.length;
    if (!count) return "This player has no complete session.";
    return `${count} complete session${count === 1 ? "" : "s"} shown. `
      + (this.cursor ? "There may be older ones." : "There are no older ones.");
  }

  showLatest({ online, latest_session: latest }) {
    const badge = find("#presence");
    badge.textContent = online ? "online" : "offline";
    badge.className = `badge ${online ? "online" : ""}`;
    find("#latest").textContent = latest ? latestInWords(latest, online) : "No session has started.";
  }

  showSessions() {
    const latest = this.player.latest_session;
    const open = latest?.status === "open" && this.player.online ? [latest] : [];
    const rows = this.sessions.map((session) => [
      moment(session.started_at), moment(session.ended_at), duration(session.duration_seconds),
      country(session.country), session.session_id,
    ]);
    const made = table("Complete sessions, the newest end first", COLUMNS, rows);
    made.className = "sessions";
    made.tabIndex = -1; // where the focus goes when the button below it is gone
    find("#timeline").replaceChildren(...timeline(this.sessions, open));
    find("#sessions").replaceChildren(made);
    find("#history").hidden = !rows.length && !open.length;
    made.hidden = !rows.length;
    find("#older").hidden = !this.cursor;
  }
}

function latestInWords(session, online) {
  const began = `Latest session: began ${moment(session.started_at)} in ${country(session.country)}`;
  if (session.status !== "open") {
    return `${began}, ended ${moment(session.ended_at)} after ${duration(session.duration_seconds)}.`;
  }
  if (!online) return `${began}, and its end has not arrived.`;
  const seconds = Math.max(0, (Date.now() - Date.parse(session.started_at)) / 1000);
  return `${began}, ${duration(seconds)} ago, and goes on.`;
}

function pathOf(id) {
  if (id === "." || id === "..") {
    throw new Failure("A browser cannot send this id: it reads dots as a folder.", { status: 400 });
  }
  return `v1/players/${encodeURIComponent(id.toWellFormed())}`;
}
