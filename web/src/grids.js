// The grids of φ of one weight of one pair, both chosen from lists (or from a cell of the maps above).

import { cell, levels, tabled } from "./data.js";
import { parts } from "./cells.js";
import { choice, el } from "./dom.js";
import { INKS, themed } from "./heat.js";
import { CanvasInk, SvgInk, svg } from "./ink.js";
import { legend } from "./legend.js";
import { besides, phiHeats } from "./phi.js";

export class Grids {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data] });
    this.controls = el("div", { class: "controls" });
    this.sheet = el("div", { class: "sheet" });
    this.scale = el("canvas", { class: "scale", "aria-hidden": "true" });
    this.body = el("div", {}, this.controls, this.scale, this.sheet);
    this.pairs = this.paired();
    this.render();
  }

  paired() {
    const found = new Map();
    for (let row = 0; row < this.frame.rows; row++) {
      const [a, b] = [cell(this.frame, "model_a", row), cell(this.frame, "model_b", row)];
      found.set(JSON.stringify([a, b]), `${a} · ${b}`);
    }
    return found;
  }

  changed(keys) {
    if (keys.has("cell") || [...keys].some((key) => key.startsWith(`${this.panel.id}.`))) this.render();
  }

  // The weight opened last, or the one chosen here.
  weight() {
    const known = levels(this.frame, "component_name");
    const opened = this.page.state.get("cell", "");
    const wanted = opened ? parts(opened).component : this.page.state.get(`${this.panel.id}.c`, "");
    return known.includes(wanted) ? wanted : known[0];
  }

  render() {
    const pair = this.page.state.get(`${this.panel.id}.p`, [...this.pairs.keys()][0]);
    const [a, b] = JSON.parse(this.pairs.has(pair) ? pair : [...this.pairs.keys()][0]);
    const component = this.weight();
    this.shown = this.page.rowsOf(this.frame, { model: a, component }).filter((row) => cell(this.frame, "model_a", row) === a && cell(this.frame, "model_b", row) === b);
    const set = (key, value) => this.page.state.set({ [`${this.panel.id}.${key}`]: value, cell: "" });
    this.controls.replaceChildren(
      choice("pair", [...this.pairs], pair, (value) => set("p", value)),
      choice("weight", levels(this.frame, "component_name").map((name) => [name, name]), component, (value) => set("c", value)));
    this.heats = phiHeats(this.frame, this.shown);
    this.sheet.replaceChildren(...besides(this.heats));
    if (!this.heats.length) this.sheet.append(el("p", { class: "nothing" }, "This pair has no grid of this weight."));
    this.title = `${component}, ${this.pairs.get(JSON.stringify([a, b]))}`;
    legend(new CanvasInk(this.scale, 320, 30), themed(), { palette: "dusk", limits: [0, 1], label: "φ" }, 8, 4, 220);
  }

  settings() {
    return `Shown: ${this.title}.`;
  }

  caption() {
    return `${this.title}. ${this.panel.caption} ${this.frame.note}`.trim();
  }

  svg() {
    let at = 10;
    const placed = this.heats.map((heat) => {
      const drawn = heat.svg();
      const body = drawn.ink.placed(at, 10);
      at += drawn.width + 12;
      return { body, height: drawn.height };
    });
    const height = Math.max(40, ...placed.map((one) => one.height));
    const bar = new SvgInk(320, 30);
    legend(bar, INKS, { palette: "dusk", limits: [0, 1], label: "φ" }, 8, 4, 220);
    return svg(Math.max(at, 340), height + 60, [...placed.map((one) => one.body), bar.placed(10, height + 20)].join("\n"), this.caption());
  }

  rows() {
    return tabled(this.frame, this.shown);
  }
}
