// Models by models: one square for each measure, beside each other.

import { cell } from "./data.js";
import { PALETTES } from "./colour.js";
import { el, short } from "./dom.js";
import { exact } from "./format.js";
import { range } from "./grid.js";
import { Heat, INKS, themed } from "./heat.js";
import { CanvasInk, SvgInk, svg, textWidth } from "./ink.js";
import { legend } from "./legend.js";

export class Squares {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data] });
    this.body = el("div", { class: "squares" });
    this.render();
  }

  changed(keys) {
    if (keys.has("hide")) this.render();
  }

  mark() {}

  every() {
    const { frame, panel } = this;
    const found = new Set();
    for (let row = 0; row < frame.rows; row++) found.add(cell(frame, panel.a, row)).add(cell(frame, panel.b, row));
    const order = this.page.models.filter((model) => found.has(model));
    return [...order, ...[...found].filter((model) => !order.includes(model))];
  }

  models() {
    const hidden = this.page.hidden();
    return this.every().filter((model) => !hidden.has(model));
  }

  // The mean over the rows of each pair: of a table by weights, over all weights.
  values(column, models) {
    const { frame, panel } = this;
    const at = new Map(models.map((model, i) => [model, i]));
    const [n, sums, counts] = [models.length, new Map(), new Map()];
    for (let row = 0; row < frame.rows; row++) {
      const [i, j, value] = [at.get(cell(frame, panel.a, row)), at.get(cell(frame, panel.b, row)), cell(frame, column, row)];
      if (i == null || j == null || value === null || Number.isNaN(value)) continue;
      for (const k of new Set([i * n + j, j * n + i])) {
        sums.set(k, (sums.get(k) ?? 0) + value);
        counts.set(k, (counts.get(k) ?? 0) + 1);
      }
    }
    return Array.from({ length: n * n }, (_, k) => (counts.has(k) ? sums.get(k) / counts.get(k) : k % (n + 1) === 0 ? panel.diagonal : null));
  }

  render() {
    const models = this.models();
    if (models.length < 2) {
      this.heats = [];
      return this.body.replaceChildren(el("p", { class: "nothing" }, "Fewer than two of these models are shown: there is nothing to compare."));
    }
    const whole = this.page.width();
    const room = whole < 560 ? whole : whole / Math.min(2, this.panel.measures.length) - 24;
    const longest = Math.max(24, ...models.map((model) => textWidth(short(model, 22))));
    const gutter = Math.ceil(longest) + 14;
    const side = Math.max(12, Math.min(44, Math.floor((room - gutter) / Math.max(1, models.length))));
    const size = { cellWidth: side, cellHeight: Math.min(side, 30), gutter, least: Math.min(room, 320) };
    if (longest > side - 6) size.foot = Math.ceil(longest * Math.SQRT1_2) + 20;
    this.heats = this.panel.measures.map((measure) => new Heat(this.drawn(measure, models), size, {}));
    this.body.replaceChildren(...this.heats.map((heat) => {
      const scale = el("canvas", { class: "scale", "aria-hidden": "true" });
      legend(new CanvasInk(scale, Math.min(room, 420), 30), themed(), heat.map, 8, 4, 160, Math.min(room, 420));
      return el("div", {}, heat.canvas, scale);
    }));
    return undefined;
  }

  drawn(measure, models) {
    const values = this.values(measure.column, models);
    // Models that are hidden count, so that a press on one changes no colour.
    const limits = measure.limits ?? range([this.values(measure.column, this.every())], measure.palette === "difference", true);
    const kind = limits[0] < 0 ? "difference" : measure.palette === "difference" ? "change" : measure.palette;
    return {
      title: measure.label, label: measure.label, xs: models, ys: models, values, limits, margin: null,
      palette: PALETTES[kind][0], key: () => null,
      words: (k) => `${models[Math.floor(k / models.length)]} and ${models[k % models.length]}`,
      standing: (k) => (k % (models.length + 1) ? ["the mean over the weights that both have"] : ["a model with itself"]),
    };
  }

  caption() {
    return this.panel.caption;
  }

  svg() {
    let at = 0;
    const placed = this.heats.map((heat) => {
      const drawn = heat.svg();
      const bar = new SvgInk(drawn.width, 30);
      legend(bar, INKS, heat.map, 8, 4, 160);
      const body = drawn.ink.placed(at, 0) + bar.placed(at, drawn.height + 4);
      at += Math.max(drawn.width, 320) + 16;
      return { body, height: drawn.height + 40 };
    });
    return svg(Math.max(at, 320), Math.max(40, ...placed.map((one) => one.height)), placed.map((one) => one.body).join("\n"), this.caption());
  }

  // One row for each pair, as the squares show them.
  rows() {
    const models = this.models();
    const means = this.panel.measures.map((measure) => this.values(measure.column, models));
    const rows = models.flatMap((a, i) => models.slice(i + 1).map((b, k) => [a, b, ...means.map((values) => values[i * models.length + i + 1 + k])]));
    const known = rows.filter((row) => row.slice(2).some((value) => value !== null));
    const columns = [this.panel.a, this.panel.b, ...this.panel.measures.map((measure) => measure.column)];
    return { columns, rows: known.map((row) => row.map((value) => (typeof value === "number" ? exact(value) : value ?? ""))) };
  }

  // A finding of cells is shown by the maps of these cells.
  locate(keys, models, statistic) {
    if (keys.size || models.length < 2 || !models.every((model) => this.models().includes(model))) return null;
    return (this.heats.find((heat) => statistic?.startsWith(heat.map.label)) ?? this.heats[0])?.canvas;
  }
}
