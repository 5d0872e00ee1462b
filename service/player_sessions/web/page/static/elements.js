// Make the elements of the page. Text goes in as text only, so no answer can bring in markup.

export const find = (selector, within = document) => within.querySelector(selector);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Return a table of rows of texts. `columns` are [title, class] each; the first heads its row.
export function table(caption, columns, rows) {
  const head = columns.map(([title, kind]) => make("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => make("tr", {}, ...row.map((text, index) => {
    const attributes = { class: columns[index][1] };
    return index ? make("td", attributes, text) : make("th", { ...attributes, scope: "row" }, text);
  })));
  return make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...body));
}

// A section of the page that asks the service: one question at a time, its status told in words.
export class Section {
  constructor(id, onRefused) {
    this.element = find(`#${id}`);
    this.results = find(".results", this.element);
    this.status = find("[role=status]", this.element);
    this.again = find(".again", this.element);
    this.onRefused = onRefused;
    this.again.addEventListener("click", () => this.repeat());
  }

  // Run `work`, and end what ran before. `byUser` says whether someone waits for the answer.
  async run(work, { byUser = true } = {}) {
    this.work = work;
    this.stop?.abort();
    const stop = new AbortController();
    this.stop = stop;
    this.refused = false;
    this.again.hidden = true;
    this.element.setAttribute("aria-busy", "true");
    this.say("Asking the service …");
    try {
      await work({ signal: stop.signal, say: (words) => this.say(words) });
    } catch (error) {
      if (stop.signal.aborted) return;
      this.fail(error, byUser);
    }
    if (this.stop === stop) this.element.removeAttribute("aria-busy");
  }

  repeat() {
    return this.run(this.work);
  }

  say(words, kind = "") {
    this.status.textContent = words;
    this.status.className = `status ${kind}`;
  }

  fail(error, byUser) {
    this.say(error.message, "failed");
    this.refused = error.status === 401 || error.status === 403;
    this.again.hidden = this.refused || error.status === 400;
    if (this.refused) this.onRefused(error.message, byUser);
  }
}
