// A plain table as a figure of its own.

import { cell, tabled } from "./data.js";
import { keyOf } from "./cells.js";
import { el, short } from "./dom.js";
import { number } from "./format.js";
import { SortedTable } from "./table.js";

export class Rows {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data] });
    this.body = el("div", {});
    this.render();
  }

  changed(keys) {
    if (keys.has("hide")) this.render();
  }

  places() {
    const hidden = this.page.hidden();
    return Array.from({ length: this.frame.rows }, (_, row) => row).filter((row) => !hidden.has(cell(this.frame, "model_id", row)));
  }

  render() {
    const { frame, panel: { id, columns }, page: { state } } = this;
    const rows = this.places().map((row) => Object.assign(columns.map((key) => cell(frame, key, row)), { row }));
    const order = { get: () => state.get(`${id}.by`, ""), set: (text) => state.quietly({ [`${id}.by`]: text }) };
    this.body.replaceChildren(new SortedTable({ columns, heads: columns.map((key) => key.replaceAll("_", " ")), rows, shown: (row, i) => this.cell(row, i), state: order }).body);
  }

  cell(row, i) {
    const value = row[i];
    if (typeof value === "number") return el("td", { class: "number" }, number(value));
    const own = this.panel.columns[i] === "component_name" ? keyOf(this.frame, row.row) : null;
    return el("td", {}, own ? el("button", { type: "button", class: "plain", onclick: () => this.page.open(own) }, short(value, 40)) : short(value ?? "", 60));
  }

  caption() {
    return this.panel.caption;
  }

  rows() {
    return tabled(this.frame, this.places(), this.panel.columns);
  }
}
