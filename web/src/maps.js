// Small multiples of heatmaps on one scale, with what a reader may choose of them.

import { cell, levels, meaning, seen, tabled, unitOf } from "./data.js";
import { parts } from "./cells.js";
import { modelColour } from "./colour.js";
import { differences } from "./difference.js";
import { choice, el, named, short } from "./dom.js";
import { defined, number } from "./format.js";
import { arranged, counted, kindPlace, names, optionsOf, standings, valuesOf } from "./grid.js";
import { Heat, INKS } from "./heat.js";
import { SvgInk, svg, textWidth } from "./ink.js";
import { outside } from "./legend.js";
import { ends } from "./margins.js";
import { ranking } from "./ranking.js";
import { Scale } from "./scale.js";
import { axisName, begins, cellSize } from "./sheet.js";
import { Slider } from "./slider.js";

export class Maps {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data], heats: new Map() });
    // A weight without an expert has no row in a map of experts; one outside the layers stands below them.
    this.outside = panel.y === "layer" ? "outside" : "–";
    const needed = [panel.x, panel.y].filter((key) => this.frame.columns[key] && (key !== "layer" || panel.x === "step"));
    this.everyRow = Array.from({ length: this.frame.rows }, (_, row) => row).filter((row) => needed.every((key) => cell(this.frame, key, row) !== null));
    this.controls = el("div", { class: "controls" });
    this.means = el("p", { class: "means" });
    this.scale = el("canvas", { class: "scale", "aria-hidden": "true" });
    this.sheet = el("div", { class: "sheet" });
    this.list = el("div", { class: "ranked" });
    this.colours = new Scale(this);
    this.slider = panel.over ? new Slider(this) : null;
    this.clear = el("button", { type: "button", class: "plain clear", hidden: true, onclick: () => page.clear() }, "clear the outlines");
    this.body = el("div", {}, this.controls, this.means, this.clear, this.scale, this.slider?.body, el("div", { class: "laid" }, this.sheet, this.list));
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
    const all = this.arranged().map((map) => this.filled(map));
    this.every = all.filter((map) => map.values.some((value) => value !== null));
    const shown = all.filter((map) => this.seen(map));
    const drawn = this.differs() ? this.differences(shown) : shown;
    this.maps = drawn.filter((map) => map.values.some((value) => value !== null));
    this.empty = drawn.filter((map) => !this.maps.includes(map));
    this.fit();
    this.renderControls();
    this.show();
    this.colours.draw(this.room());
    if (this.panel.ranked) this.list.replaceChildren(ranking(this));
  }

  // A step of the slider: the same places, other values.
  step() {
    this.every = this.arranged().map((map) => this.filled(map));
    this.maps = this.every.filter((map) => this.heats.has(map.id));
    this.fit(this.colours.wanted === "step");
    if (this.colours.wanted === "step") this.colours.draw(this.room());
    for (const map of this.maps) this.heats.get(map.id).update(this.drawn(map));
  }

  // Colours and bars are on one scale in all maps.
  fit(colours = true) {
    if (colours) this.colours.fit();
    this.ends = this.panel.margin === "none" ? null : ends((this.colours.signed ? this.maps : this.every).map((map) => this.summed(map)));
  }

  summed(map) {
    return { ...map, margin: this.panel.margin === "none" ? null : this.panel.margin, ends: this.ends };
  }

  arranged() {
    const maps = arranged(this.frame, this.panel, this.usable(this.slider?.rows()));
    // Models, and kinds of weight, stand in one order on the whole page.
    const place = (map) => (map.facets[0] === "model_id" ? this.page.models.indexOf(map.values[0]) : 0);
    const kind = (map) => kindPlace(map.values[map.facets.indexOf("module_type")]);
    return maps.sort((a, b) => place(a) - place(b) || kind(a) - kind(b));
  }

  // Whether a map is of models that are shown; all its rows are of the same ones.
  seen(map) {
    return seen(this.frame, map.rows[0], this.page.hidden());
  }

  // The rows (of those given) whose choices are the chosen ones.
  usable(rows = this.everyRow) {
    const selects = this.panel.select.map((key) => [key, this.selected(key)]);
    return selects.length ? rows.filter((row) => selects.every(([key, value]) => String(cell(this.frame, key, row)) === value)) : rows;
  }

  selected(key) {
    return this.chosen(`s.${key}`, String(optionsOf(this.frame, key)[0]));
  }

  filled(map) {
    const values = valuesOf(this.frame, map, this.measure.column);
    const counts = counted(this.frame, map, this.panel.sizes);
    const titles = this.titles(map.values, map.facets);
    const standing = standings(values, counts, this.measure.smallest, this.panel.within ? map.xs.length : 0);
    return { ...map, values, counts, standing, id: JSON.stringify(map.values), titles, title: titles.join(" · "), of: map.values };
  }

  // Of a module's path its last part tells enough in a title.
  titles(values, facets) {
    const told = { module_type: (path) => path.split(".").at(-1), head_kind: (kind) => kind.replace("_", "-") };
    const parts = values.map((value, i) => (value == null ? "–" : (told[facets[i]] ?? String)(String(value))));
    return parts.length ? parts : ["all"];
  }

  differs() {
    return this.panel.compare && this.chosen("b", "") !== "" && !this.page.hidden().has(this.chosen("b")) && this.others().length > 0;
  }

  differences(maps) {
    return differences(maps, this.minus(), this.chosen("b"));
  }

  // What a difference takes away: the model chosen, or else the first of the others.
  minus() {
    const models = this.others();
    const wanted = this.chosen("a", "");
    return models.includes(wanted) ? wanted : models[0];
  }

  // The models shown that another one can be compared with.
  others() {
    const hidden = this.page.hidden();
    return levels(this.frame, "model_id").filter((model) => model !== this.chosen("b") && !hidden.has(model));
  }

  // One scale for all steps, so that a colour means the same at every one.
  allValues(shown) {
    const hidden = this.page.hidden();
    const rows = this.usable().filter((row) => !shown || seen(this.frame, row, hidden));
    return rows.map((row) => cell(this.frame, this.measure.column, row));
  }

  drawn(map) {
    const { measure, frame, colours: { limits, palette } } = this;
    const [xs, ys] = [names(map.xs, "–"), names(map.ys, this.outside)];
    const place = map.facets[0] === "model_id" ? this.page.models.indexOf(map.of[0]) : -1;
    const error = (i) => (measure.error && typeof map.cells[i] === "number" ? cell(frame, measure.error, map.cells[i]) : null);
    return {
      ...this.summed(map), xs, ys, xName: axisName(this.panel.x), yName: axisName(this.panel.y), limits, palette, label: this.colours.label,
      whose: map.of.length ? map.title : null,
      colour: place >= 0 && !map.signed ? modelColour(place) : null,
      unit: unitOf(frame, measure.column, map.rows[0]),
      words: (i) => (map.key(i) ? parts(map.key(i)).component : `${this.panel.y} ${ys[Math.floor(i / xs.length)]}, ${axisName(this.panel.x)} ${xs[i % xs.length]}`.replace("  ", " ")),
      standing: (i) => {
        const told = map.standing(map.values[i], i);
        const lines = error(i) === null ? [] : [`± ${number(error(i), 2)} standard error`];
        if (!map.counts(i)) return [...lines, "no weight of this kind moved"];
        if (!told) return lines;
        if (outside(map.values[i], limits)) lines.push("beyond the end of the colours");
        const among = this.panel.within && !map.signed ? "of this kind" : this.panel.x === "step" ? "of all layers and steps" : "in this map";
        if (told.equal && told.of > 1) return [...lines, `all ${told.of} ${among} are equal`];
        return [...lines, `rank ${told.rank} of the ${told.of} ${among}${told.ratio === null || map.signed ? "" : `, ${number(told.ratio, 3)} × their median`}`];
      },
    };
  }

  show() {
    const shared = cellSize(this, this.room());
    const kept = new Map();
    const drawnMaps = this.maps.map((map) => this.drawn(map));
    for (const [i, map] of this.maps.entries()) {
      const drawn = drawnMaps[i];
      // Each map has below it what its own names take.
      const size = shared.foot ? { ...shared, foot: Math.ceil(Math.max(...drawn.xs.map((x) => textWidth(short(x, 22)))) * Math.SQRT1_2) + 20 } : shared;
      const heat = this.heats.get(map.id);
      if (heat && JSON.stringify(heat.size) === JSON.stringify(size)) heat.update(drawn);
      kept.set(map.id, heat?.map === drawn ? heat : new Heat(drawn, size, { open: (key) => this.page.open(key) }));
    }
    this.heats = kept;
    this.mark(this.page.marks(this.panel));
    // Several maps of one model stand together.
    const groups = [];
    for (const [i, heat] of [...kept.values()].entries()) {
      if (!i || begins(this.maps, i)) groups.push([]);
      groups.at(-1).push(heat.canvas);
    }
    this.sheet.replaceChildren(...this.reasons(), ...(groups.length > 1 ? groups.map((own) => el("div", { class: "group" }, own)) : groups.flat()));
  }

  // Why a map is not there.
  reasons() {
    if (!this.maps.length && !this.empty.length) return [el("p", { class: "nothing" }, "No model is shown; press one above.")];
    if (!this.empty.length) return [];
    const of = named(this.empty.map((map) => short(map.title, 40)), 12);
    return [el("p", { class: "nothing whole" }, `No map of ${of}: ${this.empty.length > 1 ? "they have" : "it has"} no ${this.colours.label}. Another measure may have one.`)];
  }

  // Where the cells that a finding means stand, or else its models' maps.
  locate(keys, models) {
    const heats = [...this.heats.values()];
    const holds = (heat) => heat.map.values.some((_, i) => heat.marked(i));
    return (keys.size ? heats.find(holds) : heats.find((heat) => models.some((model) => heat.map.of.some((value) => String(value).includes(model)))))?.canvas;
  }

  mark(keys) {
    for (const heat of this.heats.values()) heat.mark(keys);
    this.clear.hidden = !keys.size;
  }

  // Shows the measure that a finding was tested on, where this panel has it.
  measured(statistic) {
    const own = statistic && this.panel.measures.find(({ label }) => statistic.startsWith(label));
    if (own && own !== this.measure) this.choose("m", own.column);
  }

  room() {
    return Math.max(280, this.body.clientWidth || this.page.width());
  }

  renderControls() {
    const { panel, frame } = this;
    const controls = [];
    if (panel.measures.length > 1) {
      controls.push(choice("measure", panel.measures.map((measure) => [measure.column, measure.label]), this.measure.column, (value) => this.choose("m", value)));
    }
    for (const key of panel.select) {
      const options = optionsOf(frame, key).map((level) => [String(level), String(level ?? "–")]);
      if (options.length > 1) controls.push(choice(key === "module_type" ? "kind of weight" : key.replace("_", " "), options, this.selected(key), (value) => this.choose(`s.${key}`, value)));
    }
    const { colours } = this;
    const ends = colours.choices();
    if (ends.length) controls.push(choice("colours", ends, colours.wanted, (value) => this.choose("lim", value)));
    if (colours.palettes.length > 1) controls.push(choice("map", colours.palettes.map((name) => [name, name]), colours.palette, (value) => this.choose("pal", value)));
    if (panel.compare && levels(frame, "model_id").length > 1) controls.push(...this.comparison());
    const held = this.controls.contains(document.activeElement) ? [...this.controls.querySelectorAll("select")].indexOf(document.activeElement) : -1;
    this.controls.replaceChildren(...controls);
    this.means.textContent = this.meaning();
    if (held >= 0) this.controls.querySelectorAll("select")[held]?.focus();
  }

  // What the chosen measure is, and what was chosen besides.
  meaning() {
    const { panel, frame, measure } = this;
    const said = panel.select.map((key) => [this.selected(key), panel.explained[this.selected(key)]]).filter(([, text]) => text);
    const own = meaning(frame, measure.column).replace(/ \[at most [^\]]*\]$/, "");
    return [defined(measure.label, own), ...said.map(([key, text]) => `${key}: ${text}`)].filter(Boolean).join(" ");
  }

  comparison() {
    const models = levels(this.frame, "model_id");
    const b = this.chosen("b", "");
    const second = choice("show", [["", "each model"], ...models.map((model) => [model, `difference: ${model} −`])], this.differs() ? b : "", (value) => this.choose("b", value));
    if (!this.differs()) return [second];
    return [second, choice("minus", this.others().map((model) => [model, model]), this.minus(), (value) => this.choose("a", value))];
  }

  settings() {
    const { panel, measure, slider } = this;
    const parts = [measure.label, ...panel.select.map((key) => `${key.replace("_", " ")} ${this.selected(key)}`)];
    if (slider) parts.push(slider.text.textContent);
    if (this.differs()) parts.push(`difference ${this.chosen("b")} − ${this.minus()}`);
    return `Shown: ${parts.join("; ")}.`;
  }

  caption() {
    return `${this.panel.caption} ${this.meaning()} ${this.colours.told()}`;
  }

  svg() {
    const drawn = [...this.heats.values()].map((heat) => heat.svg());
    const [step, height] = ["width", "height"].map((side) => Math.max(0, ...drawn.map((map) => map[side])) + 8);
    const beside = Math.max(1, Math.min(drawn.length, Math.floor(1240 / step)));
    const body = drawn.map((map, i) => map.ink.placed(10 + (i % beside) * step, 10 + Math.floor(i / beside) * height));
    const [width, at] = [Math.max(beside * step, 420), 10 + Math.ceil(drawn.length / beside) * height];
    const bar = new SvgInk(width, 30);
    this.colours.bar(bar, INKS, 220);
    return svg(width + 20, at + 40, [...body, bar.placed(10, at)].join("\n"), this.caption());
  }

  rows() {
    return tabled(this.frame, this.maps.flatMap((map) => map.cells.flat()).filter((row) => row !== null));
  }
}
