// The largest cells of a panel as a list, each a button that opens it.

import { parts } from "./cells.js";
import { cell, unitOf } from "./data.js";
import { el, name } from "./dom.js";
import { even, number, titled, within } from "./format.js";
import { names, rowsIn } from "./grid.js";

const MOST = 12;

export function ranking(maps) {
  const down = maps.chosen("r", maps.measure.smallest ? "down" : "up") === "down";
  const apart = maps.panel.within && maps.maps.every((map) => !map.signed);
  const top = (apart ? firsts : largest)(maps.maps, MOST, down);
  if (!top.length) return el("p", { class: "nothing" }, "There is no value to rank.");
  if (maps.maps.every((map) => map.values.every((value) => value === null || !Number.isFinite(value) || value === top[0].value))) return el("p", { class: "nothing" }, `Every value is ${number(top[0].value)}: there is nothing to rank.`);
  const equal = maps.maps.reduce((total, map) => total + map.values.filter((value) => value === top[0].value).length, 0);
  if (equal > MOST && !apart) return el("p", { class: "nothing" }, `${equal.toLocaleString("en-US")} cells share the ${down ? "smallest" : "largest"} value, ${number(top[0].value)}: there is no first among them.`);
  const most = Math.max(...top.map(({ value }) => Math.abs(value))) || 1;
  const pairs = Boolean(maps.frame.columns.model_a);
  // Of cells that stand on both sides of zero no median is a measure.
  const ratios = top.map(({ value, map, i }) => (map.signed || !map.counts(i) ? null : map.standing(value, i)?.ratio ?? null));
  const compared = ratios.some((ratio) => ratio !== null);
  const rows = top.map(({ value, map, i, key, rows: count }, place) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    // Between columns only the ratios compare.
    const share = apart ? (ratios[place] ?? 0) / Math.max(...ratios) : Math.abs(value) / most;
    bar.style.width = `${Math.max(1, 100 * share)}%`;
    // A cell of several weights, such as a layer's experts, is none of them: it says of how many it is the mean.
    const cellName = `${maps.panel.y} ${names(map.ys, maps.outside)[Math.floor(i / map.xs.length)]}, ${names(map.xs, "–")[i % map.xs.length]}${count > 1 ? `, mean of ${count}` : ""}`;
    const where = key ? el("button", { type: "button", class: "plain", onclick: () => maps.page.open(key) }, name(parts(key).component)) : name(cellName);
    return el("tr", {},
      el("td", { class: "number" }, String(place + 1)),
      el("td", {}, where),
      el("td", {}, maps.page.swatch(map.of[0]), name(map.title, 32)),
      el("td", { class: "number" }, deviation(maps, map, i) === null ? even(value) : within(value, deviation(maps, map, i))),
      compared ? el("td", { class: "number" }, ratios[place] === null ? "–" : `${even(ratios[place], 3)}×`) : null,
      el("td", { class: "bars" }, bar));
  });
  const heads = ["", "weight", pairs ? "pair of models" : "model", `${named(maps)}${maps.measure.error ? " ± standard error" : ""}`, ...(compared ? [apart ? "of its kind's median" : "of its map's median"] : []), ""];
  const other = el("button", { type: "button", class: "plain small", onclick: () => maps.choose("r", down ? "up" : "down") }, `show the ${down ? "largest" : "smallest"}`);
  return el("details", { open: true }, el("summary", {}, apart ? `The ${down ? "smallest" : "largest"} of each kind of weight` : `The ${top.length} ${down ? "smallest" : "largest"}`),
    outlying(maps, top, apart),
    el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows))), other);
}

// The measure with its unit, which the bar of colours above has, too, where it is that of the weights.
function named({ measure, frame, maps }) {
  const unit = unitOf(frame, measure.column, maps[0].rows[0]);
  return unit?.includes("the weights") ? measure.label : titled(measure.label, unit);
}

// The standard error of a cell's value, where it has one.
const deviation = ({ measure, frame }, map, i) => (measure.error && !map.signed && typeof map.cells[i] === "number" ? cell(frame, measure.error, map.cells[i]) : null);

// What a list of unlike weights cannot say.
function outlying({ frame, panel, measure }, top, apart) {
  if (apart) return el("p", { class: "small" }, "Kinds of weight differ in size, so each is compared with its own alone: by the ratio to the median of its column.");
  const outside = panel.y === "layer" && top.some(({ map, i }) => map.ys[Math.floor(i / map.xs.length)] === null);
  // Parts of a sum, such as a change of the loss, compare whatever the shape of their weight is.
  if (!outside || panel.margin === "sum" || !frame.columns.module_type) return null;
  const divided = measure.label.includes("/");
  return el("p", { class: "small" }, `Weights outside the layers, such as tables of embeddings, have shapes of their own: their place here depends most on what ${measure.label} ${divided ? "divides by" : "grows with"}. The order of the others changes with the measure too.`);
}

const order = (down) => (down ? (value) => -value : Math.abs);

const told = (one) => ({ ...one, key: one.map.key(one.i), rows: rowsIn(one.map, one.i).length });

// The cells of all maps that lie furthest up (or down), at most so many.
function largest(maps, most, down) {
  const size = order(down);
  const first = (found) => found.sort((a, b) => size(b.value) - size(a.value)).slice(0, most);
  let found = [];
  let least = -Infinity;
  for (const map of maps) {
    map.values.forEach((value, i) => {
      if (value === null || !Number.isFinite(value) || size(value) <= least) return;
      found.push({ value, map, i });
      if (found.length < 50 * most) return;
      found = first(found);
      least = size(found.at(-1).value);
    });
  }
  return first(found).map(told);
}

// The first cell of every column of several, by its ratio to the column's median.
function firsts(maps, most, down) {
  const size = order(down);
  const ratio = ({ value, map, i }) => map.standing(value, i)?.ratio ?? 0;
  const found = maps.flatMap((map) => map.xs.map((_, x) => {
    const places = map.ys.map((_, y) => y * map.xs.length + x).filter((i) => map.values[i] !== null && Number.isFinite(map.values[i]));
    if (places.length < 2) return null;
    const i = places.reduce((best, other) => (size(map.values[other]) > size(map.values[best]) ? other : best));
    return { value: map.values[i], map, i };
  })).filter(Boolean);
  return found.sort((a, b) => (down ? ratio(a) - ratio(b) : ratio(b) - ratio(a))).slice(0, most).map(told);
}
