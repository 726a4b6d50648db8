// A table of any length: its first rows, more at a press, sorted by a press on a head.

import { el } from "./dom.js";

const FIRST = 20, MORE = 200;

// `rows` are arrays of values, `heads` what stands above them, `meanings` what that means, `shown` gives the cell of one; `state` keeps the order (`get()`, `set(text)`).
export class SortedTable {
  constructor({ columns, heads = columns, meanings = [], rows, shown, state, rest = [] }) {
    Object.assign(this, { columns, heads, meanings, rows, shown, state, rest, most: FIRST });
    this.body = el("div", { class: "wide behind" });
    this.render();
  }

  // "-loss" is by loss, the largest first.
  get order() {
    const said = this.state.get();
    const down = said.startsWith("-");
    return { by: this.columns.indexOf(down ? said.slice(1) : said), down };
  }

  sorted() {
    const { by, down } = this.order;
    if (by < 0) return this.rows;
    const keyed = this.rows.map((row) => [sortable(row[by]), row]);
    return keyed.sort(([a], [b]) => compared(a, b, down)).map(([, row]) => row);
  }

  render() {
    const { by, down } = this.order;
    const heads = this.columns.map((key, i) => el("th", { scope: "col", "data-column": key, "aria-sort": i === by ? (down ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "plain", title: this.meanings[i] || null, onclick: () => this.sort(key, i) }, this.heads[i], i === by ? (down ? " ▾" : " ▴") : "")));
    const rows = this.sorted();
    const lines = rows.slice(0, this.most).map((row) => el("tr", {}, this.columns.map((key, i) => this.shown(row, i))));
    this.body.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines)), this.below(rows.length));
  }

  below(count) {
    const said = (value) => value.toLocaleString("en-US");
    const left = count - this.most;
    const more = left > 0 ? el("button", { type: "button", onclick: () => { this.most += MORE; this.render(); } }, `show ${said(Math.min(MORE, left))} more`) : null;
    return el("p", { class: "small rest" }, `${left > 0 ? `The first ${said(this.most)} of ` : ""}${said(count)} row${count === 1 ? "" : "s"}; a press on a head sorts. `, more, ...this.rest);
  }

  // Numbers begin with the largest, names with the first of the alphabet; a second press turns the order.
  sort(key, i) {
    const { by, down } = this.order;
    const numbers = this.rows.some((row) => typeof sortable(row[i]) === "number");
    this.state.set(`${(by === i ? !down : numbers) ? "-" : ""}${key}`);
    this.render();
    this.body.querySelectorAll("th button")[i].focus();
  }
}

// What a text in a table is ordered as: a number where it is one, nothing where it is empty.
function sortable(value) {
  if (value === null || value === "" || Number.isNaN(value)) return null;
  return Number.isNaN(Number(value)) ? String(value) : Number(value);
}

// What is not there comes last in either order.
function compared(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const size = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
  return down ? -size : size;
}
