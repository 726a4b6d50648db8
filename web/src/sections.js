// The drawer's sections: for each panel of the page, what it says of one weight.

import { cell } from "./data.js";
import { el, name } from "./dom.js";
import { number } from "./format.js";
import { path } from "./path.js";
import { phiHeats } from "./phi.js";

export function sections(weight, page) {
  const done = new Set();
  const shown = page.panels.map((panel) => {
    const frame = page.data[panel.data];
    if (!["maps", "grids", "scatter"].includes(panel.kind) || done.has(panel.data)) return null;
    const rows = page.rowsOf(frame, weight);
    if (!rows.length) return null;
    done.add(panel.data);
    if (panel.kind === "grids") return grids(panel, frame, rows, page);
    if (panel.kind === "scatter") return el("section", {}, el("h3", {}, panel.title), measures({ ...panel, measures: [panel.x, panel.y] }, frame, rows, weight, page));
    const body = panel.over ? path(panel, frame, rows, page) : frame.columns.model_a ? pairs(panel, frame, rows, page) : measures(panel, frame, rows, weight, page);
    return el("section", {}, el("h3", {}, panel.title), body);
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

// Every measure of the weight, and of the same weight in up to three other models.
function measures(panel, frame, rows, weight, page) {
  const others = page.models.filter((model) => model !== weight.model && page.rowsOf(frame, { ...weight, model }).length).slice(0, 3);
  const models = [weight.model, ...others];
  const split = rows.length > 1 ? ["method", "data", "module_type", "head", "expert"].find((key) => frame.columns[key] && new Set(rows.map((row) => cell(frame, key, row))).size === rows.length) : null;
  const head = el("tr", {}, el("td", {}), models.map((model) => el("th", { scope: "col" }, page.swatch(model), name(model, 16))));
  const lines = panel.measures.flatMap((measure) => (split ? rows : [rows[0]]).map((row) => {
    const label = split ? `${measure.label}, ${cell(frame, split, row)}` : measure.label;
    const values = models.map((model) => {
      const own = page.rowsOf(frame, { ...weight, model });
      const at = split ? own.find((one) => cell(frame, split, one) === cell(frame, split, row)) : own[0];
      return at == null ? null : [cell(frame, measure.column, at), measure.error ? cell(frame, measure.error, at) : null];
    });
    if (values.every((value) => value === null || value[0] === null)) return null;
    return el("tr", {}, el("th", { scope: "row" }, label), values.map((value) => el("td", { class: "number" }, value === null ? "–" : `${number(value[0])}${value[1] === null ? "" : ` ± ${number(value[1], 2)}`}`)));
  })).filter(Boolean);
  return el("div", { class: "wide" }, el("table", {}, el("thead", {}, head), el("tbody", {}, lines)));
}

// Against the same weight of every other model: a column for each pair.
function pairs(panel, frame, rows, page) {
  const shown = panel.measures.filter((measure) => rows.some((row) => cell(frame, measure.column, row) !== null));
  const head = rows.map((row) => el("th", { scope: "col" }, ["model_a", "model_b"].map((key) => el("div", {}, page.swatch(cell(frame, key, row)), name(cell(frame, key, row), 14)))));
  const lines = shown.map((measure) => el("tr", {}, el("th", { scope: "row" }, measure.label), rows.map((row) => el("td", { class: "number" }, number(cell(frame, measure.column, row))))));
  return el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, el("td", {}), head)), el("tbody", {}, lines)));
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
    const fill = () => body.childElementCount || body.append(...phiHeats(frame, own, 14).map((heat) => heat.canvas));
    if (i === 0) fill();
    return el("details", { open: i === 0, ontoggle: fill }, el("summary", {}, name(pair, 44)), body);
  });
  return el("section", {}, el("h3", {}, "φ(i, j), beside chance"), folds, frame.note ? el("p", { class: "small" }, frame.note) : null);
}
