// All that the page knows of one weight: every table's row of it, beside the same weight of the others.

import { cell, meaning } from "./data.js";
import { cellKey, parts } from "./cells.js";
import { byId, el, name, say, short } from "./dom.js";
import { number } from "./format.js";
import { sections } from "./sections.js";

const FACTS = [["module_type", "module"], ["layer", "layer"], ["method", "method"], ["d_out", "outputs"], ["d_in", "inputs"], ["lora_rank", "rank"], ["scale", "scale"], ["family", "family"], ["status", "status"]];

export class Drawer {
  constructor(page) {
    this.page = page;
    this.place = byId("drawer");
    // Wherever the focus is, for it stays on what was pressed to see another weight.
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || this.place.hidden) return;
      event.preventDefault();
      this.close();
    });
  }

  show(key) {
    if (!key) return this.hide();
    const weight = parts(key);
    const close = el("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => this.close() }, "×");
    const heading = el("div", { class: "head" }, el("h2", { id: "drawer-title", tabindex: -1 }, short(weight.component, 40)), close);
    const model = el("p", { class: "of" }, this.page.swatch(weight.model), name(weight.model, 48), weight.stack && this.stacks() > 1 ? ` · ${short(weight.stack, 24)}` : "");
    this.place.replaceChildren(...[heading, model, this.facts(weight), ...sections(weight, this.page), this.others(weight)].filter(Boolean));
    const opened = this.place.hidden;
    this.place.hidden = false;
    document.body.classList.add("drawn");
    if (opened) {
      this.before = document.activeElement;
      byId("drawer-title").focus({ preventScroll: true });
    }
    say(`${weight.component} of ${weight.model}`);
    return undefined;
  }

  // One stack tells no weight from another.
  stacks() {
    this.named ??= new Set(Object.values(this.page.data).flatMap((frame) => frame.columns.stack?.levels ?? []));
    return this.named.size;
  }

  // How the weight is stored, from the first table that says so.
  facts(weight) {
    for (const frame of Object.values(this.page.data)) {
      const row = this.page.rowsOf(frame, weight)[0];
      if (row == null || !frame.columns.d_out) continue;
      const known = FACTS.map(([key, text]) => [key, text, cell(frame, key, row)]).filter(([key, , value]) => value !== null && !(key === "status" && value === "ok"));
      return el("dl", { class: "facts" }, known.map(([key, text, value]) => el("div", {},
        el("dt", { title: meaning(frame, key) }, text), el("dd", {}, typeof value === "number" ? number(value) : short(value, 60)))));
    }
    return null;
  }

  // The same weight of the other models, one press away.
  others(weight) {
    const there = this.page.models.filter((model) => model !== weight.model && Object.values(this.page.data).some((frame) => this.page.rowsOf(frame, { ...weight, model }).length));
    if (!there.length) return null;
    return el("section", {}, el("h3", {}, "The same weight of"), el("div", { class: "chips" }, there.map((model) => el("button", { type: "button", class: "chip", onclick: () => this.page.open(cellKey(model, weight.stack, weight.component)) }, this.page.swatch(model), name(model, 28)))));
  }

  close() {
    this.page.state.set({ cell: "" });
    this.before?.focus?.({ preventScroll: true });
  }

  hide() {
    this.place.hidden = true;
    document.body.classList.remove("drawn");
  }
}
