// The drawer's sections: for each panel of the page, what it says of one weight.

import { cell, meaning } from "./data.js";
import { el, name } from "./dom.js";
import { even, number, within } from "./format.js";
import { path } from "./path.js";
import { besides, phiHeats } from "./phi.js";

// More measures of a weight than these are folded, so that what other questions say of it stands near.
const FIRST = 6;

export function sections(weight, page) {
  const done = new Set();
  // What the open tab says stands first.
  const open = page.state.get("tab", "");
  const panels = [...page.panels].sort((a, b) => (b.tab === open) - (a.tab === open));
  const shown = panels.map((panel) => {
    const frame = page.data[panel.data];
    if (!["maps", "grids", "scatter"].includes(panel.kind) || done.has(panel.data)) return null;
    const rows = page.rowsOf(frame, weight);
    if (!rows.length) return null;
    done.add(panel.data);
    // The one head of a weight is the weight.
    if (panel.x === "head" && rows.length === 1) return null;
    if (panel.kind === "grids") return grids(panel, frame, rows, page);
    if (panel.kind === "scatter") return el("section", {}, el("h3", {}, panel.title), measures({ ...panel, measures: [panel.x, panel.y] }, frame, rows, weight, page));
    const body = panel.over ? path(panel, frame, rows, page) : frame.columns.model_a ? pairs(panel, frame, rows, page) : measures(panel, frame, rows, weight, page);
    return el("section", {}, el("h3", {}, panel.over ? `Over the ${panel.over}s` : panel.title), body);
  });
  return [...shown, ...spectra(weight, page)];
}

// σ_k of the weight's ΔW, where a table has them.
function spectra(weight, page) {
  const measures = [{ column: "singular_value", label: "σ_k of ΔW" }];
  return Object.values(page.data).filter((frame) => frame.columns.singular_value).map((frame) => {
    const rows = page.rowsOf(frame, weight);
    if (!rows.length) return null;
    return el("section", {}, el("h3", {}, "Singular values"), path({ over: "k", measures }, frame, rows, page));
  });
}

// Every measure of the weight, and of the first one its value in every other model.
function measures(panel, frame, rows, weight, page) {
  const split = rows.length > 1 ? ["method", "data", "module_type", "head", "expert"].find((key) => frame.columns[key] && new Set(rows.map((row) => cell(frame, key, row))).size === rows.length) : null;
  const lines = panel.measures.flatMap((measure) => (split ? rows : [rows[0]]).map((row) => {
    const value = cell(frame, measure.column, row);
    // A weight without factors has no scale: what is measured without one is what is measured with it.
    const scaled = cell(frame, measure.column.replace("unscaled_", ""), row);
    if (value === null || (measure.column.startsWith("unscaled_") && value === scaled && cell(frame, "method", row) === "full")) return null;
    const error = measure.error ? cell(frame, measure.error, row) : null;
    return el("tr", {}, el("th", { scope: "row", title: meaning(frame, measure.column) || null }, split ? `${measure.label}, ${["head", "expert"].includes(split) ? `${split} ` : ""}${cell(frame, split, row)}` : measure.label),
      el("td", { class: "number" }, error === null ? even(value) : within(value, error)));
  })).filter(Boolean);
  const tableOf = (rows) => el("div", { class: "wide" }, el("table", {}, el("tbody", {}, rows)));
  const rest = lines.slice(FIRST);
  const more = rest.length > 2 ? el("details", {}, el("summary", {}, `${rest.length} more measures`), tableOf(rest)) : null;
  return el("div", {}, tableOf(more ? lines.slice(0, FIRST) : lines), more, split ? null : beside(panel.measures[0], frame, weight, page));
}

// The first measure of the same weight in every model, the largest first.
function beside(measure, frame, weight, page) {
  const every = page.models.map((model) => [model, page.rowsOf(frame, { ...weight, model })[0]]).filter(([, row]) => row != null);
  const values = every.map(([model, row]) => [model, cell(frame, measure.column, row)]).filter(([, value]) => value !== null);
  if (values.length < 2) return null;
  values.sort((a, b) => b[1] - a[1]);
  const most = Math.max(...values.map(([, value]) => Math.abs(value))) || 1;
  return el("details", { open: values.length <= 16 }, el("summary", {}, `${measure.label} in ${values.length} models`),
    el("table", { class: "beside-models" }, el("tbody", {}, values.map(([model, value]) => {
      const bar = el("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${Math.max(1, (100 * Math.abs(value)) / most)}%`;
      const itself = model === weight.model;
      return el("tr", {}, el("th", { scope: "row" }, page.swatch(model), itself ? el("strong", {}, name(model, 30)) : name(model, 30)),
        el("td", { class: "number" }, even(value)), el("td", { class: "bars" }, bar));
    }))));
}

// Against the same weight of every other model: a table of measures for each pair, folded but for the first.
function pairs(panel, frame, rows, page) {
  const shown = panel.measures.filter((measure) => rows.some((row) => cell(frame, measure.column, row) !== null));
  return el("div", {}, rows.map((row, i) => {
    const names = ["model_a", "model_b"].flatMap((key) => [page.swatch(cell(frame, key, row)), name(cell(frame, key, row), 20), " "]);
    const first = shown.find((measure) => cell(frame, measure.column, row) !== null);
    const lead = first ? el("small", {}, `${first.label} ${number(cell(frame, first.column, row), 3)}`) : null;
    const lines = shown.map((measure) => el("tr", {}, el("th", { scope: "row", title: meaning(frame, measure.column) || null }, measure.label), el("td", { class: "number" }, even(cell(frame, measure.column, row)))));
    return el("details", { class: "pair", open: i === 0 }, el("summary", {}, names, lead), el("table", {}, el("tbody", {}, lines)));
  }));
}

// φ(i, j) of the weight against the same weight of every other model, folded but for the first.
function grids(panel, frame, rows, page) {
  const byPair = new Map();
  for (const row of rows) {
    const pair = `${cell(frame, "model_a", row)} · ${cell(frame, "model_b", row)}`;
    if (!byPair.has(pair)) byPair.set(pair, []);
    byPair.get(pair).push(row);
  }
  const folds = [...byPair].map(([pair, own], i) => {
    const body = el("div", { class: "sheet" });
    const fill = () => body.childElementCount || body.append(...besides(phiHeats(frame, own, 14)));
    if (i === 0) fill();
    return el("details", { open: i === 0, ontoggle: fill }, el("summary", {}, name(pair, 44)), body);
  });
  return el("section", {}, el("h3", {}, "φ(i, j), beside chance"), folds, frame.note ? el("p", { class: "small" }, frame.note) : null);
}
