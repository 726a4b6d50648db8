// The bar of colours, its limits, and what lies beyond them.

import { table } from "./colour.js";
import { count, number } from "./format.js";
import { fitted } from "./ink.js";

// The bar of colours beside the maps: limits printed, a mark at the centre of a difference. `room` is the width
// that bar and label must keep to, where there is such.
export function legend(ink, inks, { palette, limits, label, beyond }, x, y, width = 220, room = 0) {
  const colours = table(palette);
  ink.cells(x, y, width, 10, 256, 1, (i) => [colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]]);
  const style = { fill: inks.quiet, size: 11 };
  ink.text(x, y + 20, number(limits[0], 3), style);
  ink.text(x + width, y + 20, number(limits[1], 3), { ...style, anchor: "end" });
  if (limits[0] < 0 && limits[1] > 0) {
    const zero = x + (width * -limits[0]) / (limits[1] - limits[0]);
    ink.rect(zero - 0.75, y - 3, 1.5, 16, inks.ink);
    ink.text(zero, y + 20, "0", { ...style, anchor: "middle" });
  }
  ink.text(x + width + 14, y + 5, room ? fitted(label, room - width - 22, 11) : label, { fill: inks.ink, size: 11 });
  if (!beyond) return;
  const ways = [beyond.up, beyond.down].filter(Boolean).length;
  if (beyond.up) triangle(ink, x + width + 18, y + 20, 3.5, true, inks.quiet);
  if (beyond.down) triangle(ink, x + width + (ways > 1 ? 28 : 18), y + 20, 3.5, false, inks.quiet);
  ink.text(x + width + (ways > 1 ? 37 : 27), y + 20, `${count(beyond.beyond, "value")}${beyond.of ?? ""} beyond, to ${number(beyond.largest, 3)}`, style);
}

// Whether a value lies beyond the colours; what only rounds past them does not, nor what scatters around zero below
// a scale that begins there, such as an overlap above chance where there is none.
export function outside(value, [low, high]) {
  if (value === null || !Number.isFinite(value)) return false;
  const below = (low === 0 ? 0.1 : 1e-6) * (high - low);
  return value > high + 1e-6 * (high - low) || value < low - below;
}

export function triangle(ink, x, y, half, up, fill) {
  const turn = up ? 1 : -1;
  ink.shape([[x - half, y + turn * half], [x + half, y + turn * half], [x, y - turn * half]], fill);
}
