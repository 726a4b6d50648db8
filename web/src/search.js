// Finds weights by words such as "L9 v": a layer, a beginning of a module's name, a model.

import { cell } from "./data.js";
import { keyOf, parts } from "./cells.js";
import { byId, el, name, say } from "./dom.js";
import { count } from "./format.js";

const MOST = 12;

export class Search {
  constructor(page) {
    this.page = page;
    this.input = byId("search");
    this.list = byId("found");
    this.active = -1;
    this.input.addEventListener("input", () => this.show());
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
      if (!frame.columns.component_name || !frame.columns.model_id) continue;
      for (let row = 0; row < frame.rows; row++) {
        const key = keyOf(frame, row);
        if (key === null || found.has(key)) continue;
        const module = cell(frame, "module_type", row) ?? cell(frame, "parameter", row) ?? "";
        const { model, component } = parts(key);
        found.set(key, { key, model, component, layer: cell(frame, "layer", row), words: `${component} ${module}`.toLowerCase().split(/[\s._]+/), whole: `${component} ${module} ${model}`.toLowerCase() });
      }
    }
    this.listed = [...found.values()];
    return this.listed;
  }

  matches(text) {
    const wanted = text.toLowerCase().trim().split(/\s+/).filter(Boolean);
    if (!wanted.length) return [];
    return this.weights.filter((weight) => wanted.every((word) => {
      const layer = /^l?(\d+)$/.exec(word);
      if (layer) return weight.layer === Number(layer[1]);
      return weight.words.some((own) => own.startsWith(word)) || (word.length > 2 && weight.whole.includes(word));
    }));
  }

  show() {
    const found = this.matches(this.input.value);
    this.shown = found.slice(0, MOST);
    this.active = this.shown.length ? 0 : -1;
    const items = this.shown.map((weight, i) => el("li", { role: "option", id: `found-${i}`, onmousedown: () => this.open(i) },
      this.page.swatch(weight.model), name(weight.component, 32), el("small", {}, name(weight.model, 28))));
    const rest = found.length > MOST ? [el("li", { class: "rest", role: "presentation" }, `${found.length - MOST} more`)] : [];
    if (!found.length && this.input.value.trim()) items.push(el("li", { class: "rest", role: "presentation" }, "no such weight"));
    this.list.replaceChildren(...items, ...rest);
    this.list.hidden = !this.input.value.trim();
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    say(count(found.length, "weight"));
    this.point();
  }

  point() {
    [...this.list.children].forEach((item, i) => item.getAttribute("role") === "option" && item.setAttribute("aria-selected", String(i === this.active)));
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
    if (event.key === "Enter" && this.active >= 0) return this.open(this.active);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.shown?.length) return undefined;
    event.preventDefault();
    this.active = (this.active + step + this.shown.length) % this.shown.length;
    return this.point();
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
