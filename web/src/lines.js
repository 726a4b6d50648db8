// Measures above one another along one axis, a line for every model; drawn by uPlot, read out by us.

import uPlot from "uplot";
import { cell, levels, tabled } from "./data.js";
import { modelColour, modelDash, token } from "./colour.js";
import { choice, el, name, named, say, short } from "./dom.js";
import { number } from "./format.js";
import { INKS } from "./heat.js";
import { SvgInk, svg } from "./ink.js";
import { hideTip, showTip } from "./tip.js";

const HEIGHT = 176, LEFT = 66, PLOT = 520, MOST = 14;

export class Lines {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data], charts: [] });
    this.body = el("div", { class: "charts" });
    this.render();
  }

  changed(keys) {
    if (keys.has("hide") || keys.has(`${this.panel.id}.lim`)) this.render();
  }

  // The page knows its width only once the body stands in it.
  laid() {
    this.render();
  }

  models() {
    const hidden = this.page.hidden();
    return this.every().filter((model) => !hidden.has(model));
  }

  every() {
    return levels(this.frame, this.panel.series).filter((model) => model !== null);
  }

  // The models that set the axes: all, so that a press on one moves no line, or those shown alone.
  setting() {
    return this.page.state.get(`${this.panel.id}.lim`, "") === "shown" ? this.models() : this.every();
  }

  // One x for all lines, a null where a model was not measured.
  aligned(column, models = this.models()) {
    const { frame, panel } = this;
    const place = new Map(models.map((model, i) => [model, i]));
    const byX = new Map();
    for (let row = 0; row < frame.rows; row++) {
      const [x, i] = [cell(frame, panel.x, row), place.get(cell(frame, panel.series, row))];
      if (x === null || i == null) continue;
      if (!byX.has(x)) byX.set(x, Array(models.length).fill(null));
      const value = cell(frame, column, row);
      byX.get(x)[i] = value !== null && Number.isFinite(value) ? value : null;
    }
    const xs = [...byX.keys()].sort((a, b) => a - b);
    return [xs, ...models.map((_, i) => xs.map((x) => byX.get(x)[i]))];
  }

  render() {
    for (const chart of this.charts) chart.destroy();
    const width = Math.max(260, Math.min(1000, this.body.clientWidth || this.page.width()));
    this.charts = [];
    const set = (value) => this.page.state.set({ [`${this.panel.id}.lim`]: value });
    const axes = this.models().length < this.every().length ? choice("axes", [["", "of all models"], ["shown", "of the models shown"]], this.page.state.get(`${this.panel.id}.lim`, ""), set) : null;
    this.body.replaceChildren(...(axes ? [axes] : []), ...this.panel.measures.map((measure) => this.chart(measure, width)), this.legend());
  }

  // Which line is whose, in the order in which the lines of the first chart end.
  legend() {
    const models = this.models();
    const [, ...lines] = this.aligned(this.panel.measures[0].column);
    const last = new Map(models.map((model, i) => [model, lines[i].findLast((value) => value !== null) ?? -Infinity]));
    const ordered = [...models].sort((a, b) => last.get(b) - last.get(a));
    return el("ul", { class: "line-names", "aria-label": "Lines" }, ordered.map((model) => el("li", {}, this.page.swatch(model), name(model, 40))));
  }

  chart(measure, width) {
    const data = this.aligned(measure.column);
    const models = this.models();
    const place = el("div", { class: "chart", tabindex: 0, role: "img", "aria-label": this.described(measure, data, models) });
    const axis = { stroke: token("quiet"), font: "11px system-ui, sans-serif", grid: { stroke: token("rule"), width: 1 }, ticks: { stroke: token("line"), width: 1, size: 4 } };
    const [xs, ...all] = this.aligned(measure.column, this.setting());
    const errors = measure.error ? this.aligned(measure.error) : null;
    const values = errors ? whiskered(all, this.aligned(measure.error, this.setting())) : all.flat().filter((value) => value !== null);
    const chart = new uPlot({
      width, height: HEIGHT, legend: { show: false }, padding: [8, 14, 0, 0],
      scales: {
        x: { time: false, range: xs.length > 1 ? () => [xs[0], xs.at(-1)] : undefined },
        y: { range: values.length ? () => uPlot.rangeNum(values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b)), 0.1, true) : undefined },
      },
      cursor: { sync: { key: this.panel.id }, points: { size: 7 }, drag: { x: false, y: false } },
      axes: [{ ...axis, size: 28, incrs: WHOLE, values: (_, ticks) => ticks.map((tick) => number(tick, 4)) }, { ...axis, size: LEFT, values: (_, ticks) => ticks.map((tick) => number(tick, 3)) }],
      series: [{}, ...models.map((model) => ({ label: short(model, 40), stroke: modelColour(this.page.models.indexOf(model)), dash: modelDash(this.page.models.indexOf(model)), width: 2, spanGaps: true, points: { show: data[0].length < 60 || !this.panel.joined, size: this.panel.joined ? 5 : 8 }, ...(this.panel.joined ? {} : { paths: () => null }) }))].map((series) => (series.points && !this.panel.joined ? { ...series, points: { ...series.points, fill: series.stroke } } : series)),
      hooks: { setCursor: [(u) => this.pointed(u, measure, models)], draw: errors ? [(u) => whiskers(u, data, errors)] : [] },
    }, data, place);
    place.addEventListener("keydown", (event) => this.key(event, chart, measure, models));
    place.addEventListener("mouseleave", hideTip);
    place.addEventListener("blur", hideTip);
    this.charts.push(chart);
    const without = models.filter((_, i) => data[i + 1].every((value) => value === null));
    const notes = [...(without.length ? [`not recorded: ${named(without.map((model) => short(model, 30)), 12)}`] : []), ...covered(models, data.slice(1), HEIGHT)];
    return el("div", {}, el("p", { class: "chart-title" }, this.named(measure)), place, el("p", { class: "chart-axis" }, this.panel.x_label), notes.map((note) => el("p", { class: "small" }, note)));
  }

  named(measure) {
    const unit = this.frame.columns[measure.column]?.unit;
    return `${measure.label}${unit ? (unit.startsWith("[") ? `, in ${unit}` : ` [${unit}]`) : ""}`;
  }

  described(measure, [xs, ...lines], models) {
    const told = models.slice(0, 12).map((model, i) => {
      const known = xs.map((x, k) => [x, lines[i][k]]).filter(([, value]) => value !== null);
      return known.length ? `${short(model, 30)} from ${number(known[0][1])} at ${known[0][0]} to ${number(known.at(-1)[1])} at ${known.at(-1)[0]}` : `${short(model, 30)} not measured`;
    });
    return `${measure.label} over ${this.panel.x_label}: ${told.join("; ")}. Left and right arrow keys move along it.`;
  }

  // Of all models the one at the top first, as the lines stand.
  told(chart, measure, models, at) {
    const x = chart.data[0][at];
    const values = models.map((model, i) => [model, chart.data[i + 1][at]]).filter(([, value]) => value !== null);
    values.sort((a, b) => b[1] - a[1]);
    const rest = values.length > MOST ? [`and ${values.length - MOST} more`] : [];
    return [`${this.named(measure)} at ${this.panel.x_label} ${number(x)}`, ...values.slice(0, MOST).map(([model, value]) => [this.page.swatch(model), `${short(model, 28)}: ${number(value)}`]), ...rest];
  }

  // Synchronised cursors move in every chart; the pointer is over one of them.
  pointed(chart, measure, models) {
    const { idx, left } = chart.cursor;
    if (idx == null || left < 0 || !chart.over.matches(":hover")) return;
    const box = chart.over.getBoundingClientRect();
    showTip(this.told(chart, measure, models, idx), box.left + left, box.top + 20);
  }

  key(event, chart, measure, models) {
    const last = chart.data[0].length - 1;
    const now = chart.cursor.idx ?? -1;
    const to = { ArrowRight: Math.min(last, now + 1), ArrowLeft: Math.max(0, now - 1), Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const left = chart.valToPos(chart.data[0][to], "x");
    chart.setCursor({ left, top: 20 });
    const told = this.told(chart, measure, models, to);
    const box = chart.over.getBoundingClientRect();
    showTip(told, box.left + left, box.top + 20);
    say(told.map((line) => [line].flat().at(-1)).join(", "));
  }

  locate(_, models) {
    return models.some((model) => this.models().includes(model)) ? this.body.querySelector(".chart") : null;
  }

  caption() {
    return this.panel.caption;
  }

  rows() {
    const hidden = this.page.hidden();
    const rows = Array.from({ length: this.frame.rows }, (_, row) => row);
    return tabled(this.frame, rows.filter((row) => !hidden.has(cell(this.frame, this.panel.series, row))));
  }

  svg() {
    const models = this.models();
    const height = 150;
    const body = this.panel.measures.map((measure, k) => {
      const ink = new SvgInk(PLOT + 90, height);
      drawn(ink, this.aligned(measure.column), this.named(measure), models.map((model) => this.page.models.indexOf(model)), height, this.panel.joined);
      return ink.placed(0, k * (height + 16));
    });
    const names = new SvgInk(PLOT, 20 * models.length);
    models.forEach((model, i) => {
      const place = this.page.models.indexOf(model);
      names.line([[60, 20 * i + 6], [84, 20 * i + 6]], modelColour(place), 2, modelDash(place));
      names.text(90, 20 * i + 6, short(model, 60), { fill: INKS.ink });
    });
    const below = this.panel.measures.length * (height + 16);
    names.text(70 + PLOT / 2, -16, this.panel.x_label, { fill: INKS.ink, anchor: "middle" });
    return svg(PLOT + 100, below + 20 * models.length + 24, [...body, names.placed(0, below + 14)].join("\n"), this.caption());
  }
}

// What an axis of values with errors holds: both ends of every whisker, and zero, from which they are told.
function whiskered(lines, [, ...errors]) {
  const ends = lines.flatMap((line, i) => line.flatMap((value, k) => (value === null ? [] : [value - (errors[i][k] ?? 0), value + (errors[i][k] ?? 0)])));
  return ends.length ? [0, ...ends] : [];
}

function whiskers(chart, [xs, ...lines], [, ...errors]) {
  const { ctx } = chart;
  ctx.save();
  ctx.lineWidth = 1.25;
  lines.forEach((line, i) => {
    ctx.strokeStyle = chart.series[i + 1].stroke(chart, i + 1);
    line.forEach((value, k) => {
      const error = errors[i][k];
      if (value === null || error === null) return;
      const x = chart.valToPos(xs[k], "x", true);
      ctx.beginPath();
      ctx.moveTo(x, chart.valToPos(value - error, "y", true));
      ctx.lineTo(x, chart.valToPos(value + error, "y", true));
      ctx.stroke();
    });
  });
  ctx.restore();
}

// The same lines on paper: a frame, the ends of both axes, the lines.
function drawn(ink, [xs, ...lines], label, places, height, joined) {
  const known = lines.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const span = high - low || 1;
  const at = (x, value) => [70 + (PLOT * (x - xs[0])) / (xs.at(-1) - xs[0] || 1), 26 + (height - 50) * (1 - (value - low) / span)];
  ink.text(70, 10, label, { fill: INKS.ink, size: 12, bold: true });
  ink.line([[70, 22], [70, height - 20], [70 + PLOT, height - 20]], INKS.hatch);
  ink.text(64, 28, number(high, 3), { fill: INKS.quiet, anchor: "end" });
  ink.text(64, height - 26, number(low, 3), { fill: INKS.quiet, anchor: "end" });
  ink.text(70, height - 8, number(xs[0]), { fill: INKS.quiet, anchor: "middle" });
  ink.text(70 + PLOT, height - 8, number(xs.at(-1)), { fill: INKS.quiet, anchor: "middle" });
  lines.forEach((line, i) => {
    const points = xs.map((x, k) => [x, line[k]]).filter(([, value]) => value !== null).map(([x, value]) => at(x, value));
    if (joined) ink.line(points, modelColour(places[i]), 2, modelDash(places[i]));
    else for (const [x, y] of points) ink.dot(x, y, 4, modelColour(places[i]));
  });
}

// Models whose lines lie on one another within a pixel of so many, so that only the last one drawn is seen.
function covered(models, lines, pixels) {
  const known = lines.flat().filter((value) => value !== null);
  const near = (known.reduce((a, b) => Math.max(a, b), -Infinity) - known.reduce((a, b) => Math.min(a, b), Infinity)) / pixels;
  const same = (one, other) => one.every((value, k) => (value === null ? other[k] === null : other[k] !== null && Math.abs(value - other[k]) <= near));
  const groups = new Map();
  lines.forEach((line, i) => {
    if (line.every((value) => value === null)) return;
    const first = [...groups.keys()].find((other) => same(line, other)) ?? line;
    groups.set(first, [...(groups.get(first) ?? []), models[i]]);
  });
  return [...groups.values()].filter((own) => own.length > 1).map((own) => `one line: ${named(own.map((model) => short(model, 30)), 12)}`);
}

// Layers, steps and ranks are whole numbers, and so are the ticks of an axis of them.
const WHOLE = [...Array(10).keys()].flatMap((power) => [1, 2, 5].map((first) => first * 10 ** power));
