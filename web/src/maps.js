// Small multiples of heatmaps on one scale, with what a reader may choose of them.

import { cell, levels, seen, tabled } from "./data.js";
import { parts } from "./cells.js";
import { modelColour, PALETTES } from "./colour.js";
import { differences } from "./difference.js";
import { choice, el, named, short } from "./dom.js";
import { count, number } from "./format.js";
import { arranged, clipped, counted, kindPlace, names, range, rowsIn, standings, valuesOf } from "./grid.js";
import { Heat, INKS, themed } from "./heat.js";
import { CanvasInk, SvgInk, svg, textWidth } from "./ink.js";
import { legend, outside } from "./legend.js";
import { ranking } from "./ranking.js";
import { Slider } from "./slider.js";

export class Maps {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data], heats: new Map() });
    // A weight without an expert has no row in a map of experts; one outside the layers stands below them.
    this.outside = panel.y === "layer" ? "outside" : "–";
    const needed = [panel.x, panel.y].filter((key) => this.frame.columns[key] && (key !== "layer" || panel.x === "step"));
    this.everyRow = Array.from({ length: this.frame.rows }, (_, row) => row).filter((row) => needed.every((key) => cell(this.frame, key, row) !== null));
    this.controls = el("div", { class: "controls" });
    this.scale = el("canvas", { class: "scale", "aria-hidden": "true" });
    this.sheet = el("div", { class: "sheet" });
    this.list = el("div", { class: "ranked" });
    this.slider = panel.over ? new Slider(this) : null;
    this.body = el("div", {}, this.controls, this.scale, this.slider?.body, this.sheet, this.list);
    this.render();
  }

  chosen(key, otherwise) {
    return this.page.state.get(`${this.panel.id}.${key}`, otherwise);
  }

  choose(key, value) {
    this.page.state.set({ [`${this.panel.id}.${key}`]: value });
  }

  get measure() {
    const wanted = this.chosen("m", "");
    return this.panel.measures.find((measure) => measure.column === wanted) ?? this.panel.measures[0];
  }

  // Whether a change of state is of concern here.
  changed(keys) {
    if (keys.has("hide") || [...keys].some((key) => key.startsWith(`${this.panel.id}.`))) this.render();
  }

  render() {
    const maps = this.arranged();
    const all = this.differs() ? this.differences(maps) : maps.map((map) => this.filled(map));
    this.maps = all.filter((map) => map.values.some((value) => value !== null));
    this.empty = all.filter((map) => !this.maps.includes(map));
    this.limits = this.bounds();
    this.renderControls();
    this.show();
    this.renderScale();
    if (this.panel.ranked) this.list.replaceChildren(ranking(this));
  }

  // A step of the slider: the same places, other values.
  step() {
    const maps = this.arranged().map((map) => this.filled(map)).filter((map) => this.heats.has(map.id));
    this.maps = maps;
    if (this.chosen("lim", "") === "step") {
      this.limits = this.bounds();
      this.renderScale();
    }
    for (const map of maps) this.heats.get(map.id).update(this.drawn(map));
  }

  arranged() {
    const maps = arranged(this.frame, this.panel, this.usable(this.slider?.rows()));
    // Models, and kinds of weight, stand in one order on the whole page.
    const place = (map) => (map.facets[0] === "model_id" ? this.page.models.indexOf(map.values[0]) : 0);
    const kind = (map) => kindPlace(map.values[map.facets.indexOf("module_type")]);
    return maps.sort((a, b) => place(a) - place(b) || kind(a) - kind(b));
  }

  // The rows (of those given) whose models are shown and whose choices are the chosen ones.
  usable(rows = this.everyRow) {
    const hidden = this.page.hidden();
    const selects = this.panel.select.map((key) => [key, this.selected(key)]);
    return rows.filter((row) => seen(this.frame, row, hidden) && selects.every(([key, value]) => String(cell(this.frame, key, row)) === value));
  }

  selected(key) {
    return this.chosen(`s.${key}`, String(levels(this.frame, key)[0]));
  }

  filled(map) {
    const values = valuesOf(this.frame, map, this.measure.column);
    const counts = counted(this.frame, map, this.panel.sizes);
    return { ...map, values, counts, standing: standings(values, counts), id: JSON.stringify(map.values), title: this.title(map.values, map.facets), of: map.values };
  }

  // Of a module's path its last part tells enough in a title.
  title(values, facets) {
    return values.map((value, i) => (facets[i] === "module_type" ? String(value).split(".").at(-1) : value ?? "–")).join(" · ") || "all";
  }

  differs() {
    return this.panel.compare && this.chosen("b", "") !== "" && !this.page.hidden().has(this.chosen("b"));
  }

  differences(maps) {
    return differences(maps, this.chosen("a", this.page.models[0]), this.chosen("b"), (map) => this.filled(map));
  }

  bounds() {
    const measure = this.measure;
    const signed = measure.palette === "difference" || this.maps.some((map) => map.signed);
    if (measure.limits && !this.maps.some((map) => map.signed)) return measure.limits;
    const wanted = this.chosen("lim", "");
    const lists = this.slider && wanted !== "step" ? [this.allValues(measure.column)] : this.maps.map((map) => map.values);
    const [low, high] = range(lists, signed, wanted !== "data");
    this.beyond = wanted === "" || wanted === "step" ? clipped(lists) : null;
    if (this.beyond) return [low < 0 ? -this.beyond.limit : low, this.beyond.limit];
    return [low, high];
  }

  // One scale for all steps, so that a colour means the same at every one.
  allValues(column) {
    return this.usable().map((row) => cell(this.frame, column, row));
  }

  get palette() {
    const kind = this.limits[0] < 0 ? "difference" : this.measure.palette === "difference" ? "change" : this.measure.palette;
    const wanted = this.chosen("pal", "");
    return PALETTES[kind].includes(wanted) ? wanted : PALETTES[kind][0];
  }

  drawn(map) {
    const { measure, frame } = this;
    const [xs, ys] = [names(map.xs, "–"), names(map.ys, this.outside)];
    const place = map.facets[0] === "model_id" ? this.page.models.indexOf(map.of[0]) : -1;
    const error = (i) => (measure.error && typeof map.cells[i] === "number" ? cell(frame, measure.error, map.cells[i]) : null);
    return {
      ...map, xs, ys, xName: axisName(this.panel.x), yName: axisName(this.panel.y), limits: this.limits, palette: this.palette, label: measure.label,
      margin: this.panel.margin === "none" ? null : this.panel.margin,
      colour: place >= 0 && !map.signed ? modelColour(place) : null,
      unit: frame.columns[measure.column]?.unit,
      words: (i) => (map.key(i) ? parts(map.key(i)).component : `${this.panel.y} ${ys[Math.floor(i / xs.length)]}, ${axisName(this.panel.x)} ${xs[i % xs.length]}`.replace("  ", " ")),
      many: (i) => rowsIn(map, i).length,
      standing: (i) => {
        const told = map.standing(map.values[i]);
        const lines = error(i) === null ? [] : [`± ${number(error(i), 2)} standard error`];
        if (!map.counts(i)) return [...lines, "no weight of this kind moved"];
        if (!told) return lines;
        if (outside(map.values[i], this.limits)) lines.push("beyond the colours' limit");
        return [...lines, `rank ${told.rank} of ${told.of}${told.ratio === null || map.signed ? "" : `, ${number(told.ratio, 3)} × the median`} in this map`];
      },
    };
  }

  show() {
    const shared = this.size();
    const kept = new Map();
    for (const map of this.maps) {
      const drawn = this.drawn(map);
      // Each map has below it what its own names take.
      const size = shared.foot ? { ...shared, foot: Math.ceil(Math.max(...drawn.xs.map((x) => textWidth(short(x, 22)))) * Math.SQRT1_2) + 20 } : shared;
      const heat = this.heats.get(map.id);
      if (heat && JSON.stringify(heat.size) === JSON.stringify(size)) heat.update(drawn);
      kept.set(map.id, heat?.map === drawn ? heat : new Heat(drawn, size, { open: (key) => this.page.open(key) }));
    }
    this.heats = kept;
    this.mark(this.page.marks());
    this.sheet.replaceChildren(...this.reasons(), ...[...kept.values()].map((heat) => heat.canvas));
  }

  // Why a map is not there.
  reasons() {
    if (!this.maps.length && !this.empty.length) return [el("p", { class: "nothing" }, "No model is shown; press one above.")];
    if (!this.empty.length) return [];
    const of = named(this.empty.map((map) => short(map.title, 40)), 12);
    return [el("p", { class: "nothing whole" }, `No map of ${of}: ${this.empty.length > 1 ? "they have" : "it has"} no ${this.barLabel()}. Another measure may have one.`)];
  }

  // Where the cells that a finding means stand, or else its models' maps.
  locate(keys, models) {
    const heats = [...this.heats.values()];
    const holds = (heat) => heat.map.values.some((_, i) => keys.has(heat.map.key(i)));
    return (keys.size ? heats.find(holds) : heats.find((heat) => models.some((model) => heat.map.of.some((value) => String(value).includes(model)))))?.canvas;
  }

  mark(keys) {
    for (const heat of this.heats.values()) heat.mark(keys);
  }

  // Cells as large as the sheet allows: as many maps beside one another as stay readable.
  size() {
    const room = Math.max(280, this.sheet.clientWidth || this.page.width());
    const widest = (axis) => this.maps.flatMap((map) => names(map[axis], this.outside)).reduce((most, name) => Math.max(most, textWidth(short(name, 22))), 0);
    const least = Math.max(18, ...[this.panel.x, this.panel.y].map((key) => textWidth(axisName(key))));
    const [down, across] = [widest("ys"), this.frame.columns[this.panel.x]?.type === "text" ? widest("xs") : 0];
    // Names below columns are turned where they are wider, and begin left of the first.
    const gutter = Math.ceil(Math.max(down, least, across * Math.SQRT1_2 - 12)) + 14;
    const nx = Math.max(1, ...this.maps.map((map) => map.xs.length));
    const ny = Math.max(1, ...this.maps.map((map) => map.ys.length));
    const beside = gutter + 48;
    const columns = Math.max(1, Math.min(this.maps.length, Math.floor(room / (beside + nx * (across ? 17 : 11)))));
    const cellWidth = Math.max(2, Math.min(26, Math.floor(((room - 12 * (columns - 1)) / columns - beside) / nx)));
    const cellHeight = ny <= 12 ? 21 : ny <= 24 ? 15 : ny <= 48 ? 12 : Math.max(2, Math.floor(520 / ny));
    // A title that is wider than its map has some room at its right.
    const titles = this.maps.reduce((most, map) => Math.max(most, textWidth(short(map.title, 90), 12, true)), 0);
    const size = { cellWidth, cellHeight, gutter, least: Math.min(room, gutter + Math.min(150, titles) + 20) };
    return across + 6 > cellWidth ? { ...size, foot: Math.ceil(across * Math.SQRT1_2) + 20 } : size;
  }

  renderControls() {
    const { panel, frame } = this;
    const controls = [];
    if (panel.measures.length > 1) {
      controls.push(choice("measure", panel.measures.map((measure) => [measure.column, measure.label]), this.measure.column, (value) => this.choose("m", value)));
    }
    for (const key of panel.select) {
      const options = levels(frame, key).map((level) => [String(level), String(level ?? "–")]);
      if (options.length > 1) controls.push(choice(key.replace("_", " "), options, this.selected(key), (value) => this.choose(`s.${key}`, value)));
    }
    const fixed = this.measure.limits || (this.limits[0] < 0 && this.chosen("lim", "") === "");
    if (!fixed || this.beyond) controls.push(choice("colours", this.scales(), this.chosen("lim", ""), (value) => this.choose("lim", value)));
    const kind = this.limits[0] < 0 ? "difference" : this.measure.palette;
    if (PALETTES[kind]?.length > 1) controls.push(choice("map", PALETTES[kind].map((name) => [name, name]), this.palette, (value) => this.choose("pal", value)));
    if (panel.compare && this.page.models.length > 1) controls.push(...this.comparison());
    const held = this.controls.contains(document.activeElement) ? [...this.controls.querySelectorAll("select")].indexOf(document.activeElement) : -1;
    this.controls.replaceChildren(...controls);
    if (held >= 0) this.controls.querySelectorAll("select")[held]?.focus();
  }

  // What colours may end at; where a few cells lie far beyond all others, they need not set the scale.
  scales() {
    const apart = this.beyond || (this.chosen("lim", "") !== "" && clipped(this.slider ? [this.allValues(this.measure.column)] : this.maps.map((map) => map.values)));
    const whole = apart ? [["", "from zero, the few largest beyond"], ["zero", "from zero to the largest"]] : [["", "from zero"]];
    const step = this.slider ? [["step", "from zero, of this step"]] : [];
    return this.limits[0] < 0 ? whole : [...whole, ["data", "from the data"], ...step];
  }

  comparison() {
    const models = levels(this.frame, "model_id").map((model) => [model, model]);
    const b = this.chosen("b", "");
    const second = choice("show", [["", "each model"], ...models.map(([model]) => [model, `difference: ${model} −`])], b, (value) => this.choose("b", value));
    if (b === "") return [second];
    return [second, choice("minus", models, this.chosen("a", models[0][0]), (value) => this.choose("a", value))];
  }

  renderScale() {
    const width = Math.max(280, this.sheet.clientWidth || this.page.width());
    legend(new CanvasInk(this.scale, width, 30), themed(), { palette: this.palette, limits: this.limits, label: this.barLabel(), beyond: this.beyond }, 8, 4, Math.min(220, width - 190));
  }

  barLabel() {
    return this.maps.some((map) => map.signed) ? `difference of ${this.measure.label}` : this.measure.label;
  }

  caption() {
    const bounds = this.limits.map((limit) => number(limit, 3)).join(" to ");
    const over = this.beyond ? ` ${count(this.beyond.beyond, "value")} beyond, to ${number(this.beyond.largest, 3)}, marked by a triangle.` : "";
    return `${this.panel.caption} Colour: ${this.barLabel()}, ${bounds}.${over}`;
  }

  svg() {
    const drawn = [...this.heats.values()].map((heat) => heat.svg());
    const [step, height] = ["width", "height"].map((side) => Math.max(0, ...drawn.map((map) => map[side])) + 8);
    const beside = Math.max(1, Math.min(drawn.length, Math.floor(1240 / step)));
    const body = drawn.map((map, i) => map.ink.placed(10 + (i % beside) * step, 10 + Math.floor(i / beside) * height));
    const [width, at] = [Math.max(beside * step, 420), 10 + Math.ceil(drawn.length / beside) * height];
    const bar = new SvgInk(width, 30);
    legend(bar, INKS, { palette: this.palette, limits: this.limits, label: this.barLabel(), beyond: this.beyond }, 8, 4, 220);
    return svg(width + 20, at + 40, [...body, bar.placed(10, at)].join("\n"), this.caption());
  }

  rows() {
    return tabled(this.frame, this.maps.flatMap((map) => map.cells.flat()).filter((row) => row !== null));
  }

  // The cells of all maps shown that lie furthest up (or down), at most so many.
  top(most, down) {
    const size = down ? (value) => -value : Math.abs;
    const first = (found) => found.sort((a, b) => size(b.value) - size(a.value)).slice(0, most);
    let found = [];
    let least = -Infinity;
    for (const map of this.maps) {
      map.values.forEach((value, i) => {
        if (value === null || !Number.isFinite(value) || size(value) <= least) return;
        found.push({ value, map, i });
        if (found.length < 50 * most) return;
        found = first(found);
        least = size(found.at(-1).value);
      });
    }
    return first(found).map((one) => ({ ...one, key: one.map.key(one.i), rows: rowsIn(one.map, one.i).length }));
  }
}

// What the numbers of an axis count; kinds of weight and parameters say it themselves.
const axisName = (key) => (["module_type", "parameter"].includes(key) ? "" : key.replaceAll("_", " "));
