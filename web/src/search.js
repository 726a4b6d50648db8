// Finds weights by words such as "L9 v": a layer, a beginning of a module's name, a model. Whole names come first.

import { cell } from "./data.js";
import { keyOf, parts } from "./cells.js";
import { byId, el, name, say } from "./dom.js";
import { count } from "./format.js";

const MOST = 12, MORE = 60;

export class Search {
  constructor(page) {
    this.page = page;
    this.input = byId("search");
    this.list = byId("found");
    this.active = -1;
    this.most = MOST;
    this.input.addEventListener("input", () => { this.most = MOST; this.show(); });
    this.input.addEventListener("focus", () => this.input.value && this.show());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) {
        event.preventDefault();
        this.input.focus();
      }
    });
  }

  // Every weight once, with the words that find it.
  get weights() {
    if (this.listed) return this.listed;
    const found = new Map();
    for (const frame of Object.values(this.page.data)) {
      const whose = ["model_id", "model_a", "model_b"].filter((key) => frame.columns[key]);
      if (!frame.columns.component_name || !whose.length) continue;
      for (let row = 0; row < frame.rows; row++) {
        for (const column of whose) listed(found, frame, row, cell(frame, column, row));
      }
    }
    this.listed = [...found.values()];
    return this.listed;
  }

  // The weights that every word fits, those first that it fits best.
  matches(text) {
    const typed = text.toLowerCase().trim();
    const wanted = typed.replace(/\blayer\s+(?=\d)/g, "l").split(/\s+/).filter(Boolean);
    if (!wanted.length) return [];
    const found = this.weights.map((weight) => [Math.max(...wanted.map((word) => misfit(weight, word))), weight]);
    const whole = ([, weight]) => weight.component.toLowerCase() === typed;
    return found.filter(([fit]) => fit < Infinity).sort((a, b) => whole(b) - whole(a) || a[0] - b[0]).map(([, weight]) => weight);
  }

  show() {
    const found = this.matches(this.input.value);
    this.shown = found.slice(0, this.most);
    this.active = Math.min(this.shown.length - 1, this.most - MOST);
    const items = this.shown.map((weight, i) => el("li", { role: "option", id: `found-${i}`, onmousedown: () => this.open(i) },
      this.page.swatch(weight.model), name(weight.component, 32), el("small", {}, name(weight.model, 28))));
    const rest = found.length - this.shown.length;
    if (rest > 0) items.push(el("li", { role: "option", id: `found-${items.length}`, class: "further", onmousedown: (event) => { event.preventDefault(); this.further(); } }, `show ${Math.min(rest, MORE)} of ${rest} more`));
    if (!found.length && this.input.value.trim()) items.push(el("li", { class: "rest", role: "presentation" }, "no such weight"));
    this.list.replaceChildren(...items);
    this.choices = this.shown.length + (rest > 0);
    this.list.hidden = !this.input.value.trim();
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    say(count(found.length, "weight"));
    this.point();
  }

  point() {
    [...this.list.children].forEach((item, i) => item.getAttribute("role") === "option" && item.setAttribute("aria-selected", String(i === this.active)));
    this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
    if (this.active >= 0) this.input.setAttribute("aria-activedescendant", `found-${this.active}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.key === "Escape") {
      // The open weight stays.
      event.preventDefault();
      this.input.value = "";
      return this.close();
    }
    if (event.key === "Enter" && this.active >= 0) return this.active < this.shown.length ? this.open(this.active) : this.further();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.shown?.length) return undefined;
    event.preventDefault();
    this.active = (this.active + step + this.choices) % this.choices;
    return this.point();
  }

  // The list grows, and goes on from where it ended.
  further() {
    this.most += MORE;
    this.show();
  }

  open(i) {
    const { key } = this.shown[i];
    // What was looked for is found: back in the field after the weight, no list opens again.
    this.input.value = "";
    this.close();
    this.page.open(key);
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}

// Puts the weight of a row among those found, once for each model.
function listed(found, frame, row, model) {
  const key = keyOf(frame, row, model);
  if (key === null || found.has(key)) return;
  const module = cell(frame, "module_type", row) ?? cell(frame, "parameter", row) ?? "";
  const { component } = parts(key);
  found.set(key, { key, model, component, layer: cell(frame, "layer", row), words: `${component} ${module}`.toLowerCase().split(/[\s._]+/), whole: `${component} ${module} ${model}`.toLowerCase() });
}

// How badly a word fits a weight: a layer or a whole part of its name best, a beginning, a piece; not at all.
function misfit(weight, word) {
  const layer = /^l?(\d+)$/.exec(word);
  if (layer) return weight.layer === Number(layer[1]) ? 0 : Infinity;
  if (weight.words.includes(word)) return 0;
  if (weight.words.some((own) => own.startsWith(word))) return 1;
  return word.length > 2 && weight.whole.includes(word) ? 2 : Infinity;
}
