// The largest cells of a panel as a list, each a button that opens it.

import { parts } from "./cells.js";
import { unitOf } from "./data.js";
import { el, name } from "./dom.js";
import { number, titled } from "./format.js";
import { names } from "./grid.js";

const MOST = 12;

export function ranking(maps) {
  const down = maps.chosen("r", maps.measure.smallest ? "down" : "up") === "down";
  const top = maps.top(MOST, down);
  if (!top.length) return el("p", { class: "nothing" }, "There is no value to rank.");
  if (maps.maps.every((map) => map.values.every((value) => value === null || !Number.isFinite(value) || value === top[0].value))) return el("p", { class: "nothing" }, `Every value is ${number(top[0].value)}: there is nothing to rank.`);
  const equal = maps.maps.reduce((total, map) => total + map.values.filter((value) => value === top[0].value).length, 0);
  if (equal > MOST) return el("p", { class: "nothing" }, `${equal.toLocaleString("en-US")} cells share the ${down ? "smallest" : "largest"} value, ${number(top[0].value)}: there is no first among them.`);
  const most = Math.max(...top.map(({ value }) => Math.abs(value))) || 1;
  const pairs = Boolean(maps.frame.columns.model_a);
  // Of cells that stand on both sides of zero no median is a measure.
  const ratios = top.map(({ value, map, i }) => (map.signed || !map.counts(i) ? null : map.standing(value)?.ratio ?? null));
  const compared = ratios.some((ratio) => ratio !== null);
  const rows = top.map(({ value, map, i, key, rows: count }, place) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(1, (100 * Math.abs(value)) / most)}%`;
    // A cell of several weights, such as a layer's experts, is none of them: it says of how many it is the mean.
    const cellName = `${maps.panel.y} ${names(map.ys, maps.outside)[Math.floor(i / map.xs.length)]}, ${names(map.xs, "–")[i % map.xs.length]}${count > 1 ? `, mean of ${count}` : ""}`;
    const where = key ? el("button", { type: "button", class: "plain", onclick: () => maps.page.open(key) }, name(parts(key).component)) : name(cellName);
    return el("tr", {},
      el("td", { class: "number" }, String(place + 1)),
      el("td", {}, where),
      el("td", {}, maps.page.swatch(map.of[0]), name(map.title, 32)),
      el("td", { class: "number" }, number(value)),
      compared ? el("td", { class: "number" }, ratios[place] === null ? "–" : `${number(ratios[place], 3)}×`) : null,
      el("td", { class: "bars" }, bar));
  });
  const heads = ["", "weight", pairs ? "pair of models" : "model", named(maps), ...(compared ? ["of its map's median"] : []), ""];
  const other = el("button", { type: "button", class: "plain small", onclick: () => maps.choose("r", down ? "up" : "down") }, `show the ${down ? "largest" : "smallest"}`);
  return el("details", { open: true }, el("summary", {}, `The ${top.length} ${down ? "smallest" : "largest"}`),
    el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows))), other);
}

// The measure with its unit, which the bar of colours above has, too, where it is that of the weights.
function named({ measure, frame, maps }) {
  const unit = unitOf(frame, measure.column, maps[0].rows[0]);
  return unit?.includes("the weights") ? measure.label : titled(measure.label, unit);
}
