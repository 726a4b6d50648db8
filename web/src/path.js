// The path of one weight over the steps, or its singular values over their number, drawn small.

import { cell } from "./data.js";
import { modelColour } from "./colour.js";
import { el } from "./dom.js";
import { number } from "./format.js";
import { CanvasInk } from "./ink.js";
import { themed } from "./heat.js";

const WIDTH = 360, HEIGHT = 110, LEFT = 52, FOOT = 20;

export function path(panel, frame, rows, page) {
  const measure = panel.measures[0];
  const points = rows.map((row) => [cell(frame, panel.over, row), cell(frame, measure.column, row)]).filter(([, value]) => value !== null && Number.isFinite(value));
  points.sort((a, b) => a[0] - b[0]);
  if (points.length < 2) return el("p", {}, points.length ? `${measure.label} ${number(points[0][1])} at ${panel.over} ${points[0][0]}` : "no value");
  const [first, last] = [points[0], points.at(-1)];
  const top = Math.max(...points.map(([, value]) => value), 0) || 1;
  const low = Math.min(...points.map(([, value]) => value), 0);
  const at = ([step, value]) => [LEFT + ((WIDTH - LEFT - 8) * (step - first[0])) / (last[0] - first[0] || 1), 8 + (HEIGHT - FOOT - 8) * (1 - (value - low) / (top - low))];
  const canvas = el("canvas", { role: "img", "aria-label": `${measure.label} from ${number(first[1])} at ${panel.over} ${first[0]} to ${number(last[1])} at ${panel.over} ${last[0]}` });
  const [ink, inks] = [new CanvasInk(canvas, WIDTH, HEIGHT), themed()];
  const quiet = { fill: inks.quiet, size: 11 };
  ink.line([[LEFT, HEIGHT - FOOT], [WIDTH - 8, HEIGHT - FOOT]], inks.hatch);
  ink.text(LEFT - 6, 10, number(top, 3), { ...quiet, anchor: "end" });
  ink.text(LEFT - 6, HEIGHT - FOOT, number(low, 3), { ...quiet, anchor: "end" });
  ink.text(LEFT, HEIGHT - 8, `${panel.over} ${first[0].toLocaleString("en-US")}`, quiet);
  ink.text(WIDTH - 8, HEIGHT - 8, last[0].toLocaleString("en-US"), { ...quiet, anchor: "end" });
  ink.line(points.map(at), modelColour(page.models.indexOf(cell(frame, "model_id", rows[0]))), 2);
  return el("div", {}, el("p", { class: "small" }, measure.label), canvas);
}
