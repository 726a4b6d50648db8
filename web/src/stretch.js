// An axis on which a few values that dwarf the rest leave these apart: linear near zero, logarithmic away from it.

// So many times the size that nine in ten stay below is dwarfing.
const DWARFS = 6;

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

export function axis(values) {
  const sizes = values.map(Math.abs).filter((size) => size > 0).sort((a, b) => a - b);
  const unit = quantile(sizes, 0.5);
  const stretched = sizes.length > 2 && sizes.at(-1) >= DWARFS * quantile(sizes, 0.9);
  if (!stretched) return { stretched, to: (value) => value, back: (value) => value };
  return { stretched, unit, to: (value) => Math.asinh(value / unit), back: (value) => unit * Math.sinh(value) };
}

// Round values of an axis between its ends, which are stretched as it is; at most `room` of them.
export function ticks({ stretched, unit, to }, [low, high], about, room) {
  if (!stretched) return even([low, high], about);
  const powers = [];
  for (let power = Math.floor(Math.log10(unit)); to(10 ** power) <= Math.max(high, -low); power++) powers.push(10 ** power);
  const found = [...powers.map((power) => -power).reverse(), 0, ...powers].filter((tick) => to(tick) >= low && to(tick) <= high);
  // Those nearest zero, which crowd, give way.
  const gap = (high - low) / room;
  const kept = found.includes(0) ? [0] : [];
  for (const tick of found.filter((one) => one !== 0).sort((a, b) => Math.abs(b) - Math.abs(a))) {
    if (kept.every((other) => Math.abs(to(other) - to(tick)) >= gap)) kept.push(tick);
  }
  return kept.sort((a, b) => a - b);
}

function even([low, high], about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return found;
}
