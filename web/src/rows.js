// A plain table; a press on a head sorts by it.

import { cell, tabled } from "./data.js";
import { keyOf } from "./cells.js";
import { el, short } from "./dom.js";
import { number } from "./format.js";

const MOST = 200;

export class Rows {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data], by: null, down: false });
    this.body = el("div", { class: "wide behind" });
    this.render();
  }

  changed(keys) {
    if (keys.has("hide")) this.render();
  }

  order() {
    const hidden = this.page.hidden();
    const rows = Array.from({ length: this.frame.rows }, (_, row) => row).filter((row) => !hidden.has(cell(this.frame, "model_id", row)));
    if (this.by) rows.sort((a, b) => compared(cell(this.frame, this.by, a), cell(this.frame, this.by, b)) * (this.down ? -1 : 1));
    return rows;
  }

  render() {
    const { frame, panel } = this;
    const heads = panel.columns.map((key) => el("th", { scope: "col", "aria-sort": this.by === key ? (this.down ? "descending" : "ascending") : null }, el("button", { type: "button", class: "plain", onclick: () => this.sort(key) }, key.replaceAll("_", " "))));
    const rows = this.order();
    const lines = rows.slice(0, MOST).map((row) => el("tr", {}, panel.columns.map((key) => this.cell(key, row))));
    const rest = rows.length > MOST ? [el("p", { class: "nothing" }, `The first ${MOST} of ${rows.length.toLocaleString("en-US")} rows; the CSV has all.`)] : [];
    this.body.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines)), ...rest);
    this.frame = frame;
  }

  cell(key, row) {
    const value = cell(this.frame, key, row);
    if (typeof value === "number") return el("td", { class: "number" }, number(value));
    const own = key === "component_name" ? keyOf(this.frame, row) : null;
    return el("td", {}, own ? el("button", { type: "button", class: "plain", onclick: () => this.page.open(own) }, short(value, 40)) : short(value ?? "", 60));
  }

  sort(key) {
    this.down = this.by === key && !this.down;
    this.by = key;
    this.render();
  }

  caption() {
    return this.panel.caption;
  }

  rows() {
    return tabled(this.frame, this.order(), this.panel.columns);
  }
}

function compared(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en");
}
