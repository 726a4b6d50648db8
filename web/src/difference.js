// The maps of one model minus those of another, cell by cell.

import { standings } from "./grid.js";

export function differences(maps, a, b) {
  const rest = (map) => JSON.stringify(map.of.slice(1));
  const minus = new Map(maps.filter((map) => map.of[0] === a).map((map) => [rest(map), map]));
  return maps.filter((map) => map.of[0] === b && minus.has(rest(map))).map((map) => {
    const [of, other] = [map, minus.get(rest(map))];
    const [down, across] = [other.ys, other.xs].map((names) => new Map(names.map((name, k) => [name, k])));
    const values = of.values.map((value, i) => {
      const [j, k] = [down.get(of.ys[Math.floor(i / of.xs.length)]), across.get(of.xs[i % of.xs.length])];
      const before = j == null || k == null ? null : other.values[j * other.xs.length + k];
      return value === null || before === null ? null : value - before;
    });
    return { ...of, values, standing: standings(values, of.counts), titles: [`${b} − ${a}`], title: `${b} − ${a}`, signed: true };
  });
}
