// The bars beside a map: of every row and column the sum or the mean, all maps of a panel on one scale.

import { rowsIn } from "./grid.js";

// `map`: {xs, ys, values, counts(i), cells, margin}. A mean is that of the kinds that moved, where there are any.
export function margins(map) {
  const [nx, ny] = [map.xs.length, map.ys.length];
  return {
    columns: Array.from({ length: nx }, (_, i) => summed(map, Array.from({ length: ny }, (_, j) => j * nx + i))),
    rows: Array.from({ length: ny }, (_, j) => summed(map, Array.from({ length: nx }, (_, i) => j * nx + i))),
  };
}

function summed({ values, counts, cells, margin }, places) {
  let known = places.filter((i) => values[i] !== null && Number.isFinite(values[i]));
  if (!known.length) return null;
  if (margin === "mean" && known.some(counts)) known = known.filter(counts);
  const weight = (i) => (margin === "mean" ? rowsIn({ cells }, i).length : 1);
  const total = known.reduce((sum, i) => sum + values[i] * weight(i), 0);
  return margin === "mean" ? total / known.reduce((sum, i) => sum + weight(i), 0) : total;
}

// Where the bars of all maps begin and end, columns and rows apart; zero is inside.
export function ends(maps) {
  const every = maps.map(margins);
  const span = (side) => {
    const known = every.flatMap((one) => one[side]).filter((value) => value !== null);
    return known.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [0, 0]);
  };
  return { columns: span("columns"), rows: span("rows") };
}

// Bars from zero; where there are negative ones, zero stands inside.
export function bars(values, [low, high], room, draw) {
  if (high === low) return;
  const unit = room / (high - low);
  values.forEach((value, i) => { if (value !== null) draw(i, (Math.min(0, value) - low) * unit, Math.abs(value) * unit); });
}
