// Numbers as texts: four significant digits, thousands apart, tiny and huge ones as powers.

export function number(value, digits = 4, trim = trimmed) {
  if (value == null || Number.isNaN(value)) return "n/a";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 1e6 || size < 1e-4) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    text = `${trim(mantissa)}e${Number(power)}`;
  } else if (size >= 10 ** digits) {
    text = Math.round(value).toLocaleString("en-US");
  } else {
    text = trim(value.toPrecision(digits));
  }
  return text.replace("-", "−");
}

// A number of a column: its zeros stay, so that all end alike.
export const even = (value, digits = 4) => (Number.isInteger(value) ? number(value, digits) : number(value, digits, (text) => text));

// A number with its standard error, whose first two digits say where both end.
export function within(value, error, unit = "") {
  if (error === null || !Number.isFinite(error) || !(error > 0) || value === null || !Number.isFinite(value)) return even(value) + unit;
  const places = 1 - Math.floor(Math.log10(error));
  if (places < 0 || places > 8) return `${number(value)} ± ${number(error, 2)}${unit}`;
  const text = value.toFixed(places);
  return `${Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−")} ± ${error.toFixed(places)}${unit}`;
}

// A range says nothing of what a value is counted in.
const counts = (unit) => Boolean(unit) && !unit.startsWith("[") && !unit.startsWith("at most");

// A value with its unit, where the unit says more than what the weights themselves are counted in.
export function measured(value, unit, digits) {
  return `${number(value, digits)}${counts(unit) && !unit.includes("the weights") ? ` ${unit}` : ""}`;
}

// What an axis or a bar of colours is of, with its unit.
export const titled = (label, unit) => (counts(unit) ? `${label} [${unit}]` : label);

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

// For files: the fewest digits that read the same float32 back, a plain minus.
export function exact(value) {
  if (value == null) return "";
  if (!Number.isFinite(value) || Number.isInteger(value)) return String(value);
  const digits = [4, 5, 6, 7, 8].find((most) => Math.fround(Number(value.toPrecision(most))) === Math.fround(value)) ?? 9;
  return String(Number(value.toPrecision(digits)));
}

export const count = (value, one, many = `${one}s`) => `${value.toLocaleString("en-US")} ${value === 1 ? one : many}`;

// What a name stands for; a meaning that begins with the name does not repeat it, one that is no more says nothing.
export function defined(label, own) {
  const plain = (text) => text.replace(/\s/g, "").toLowerCase();
  if (!own || plain(own.replace(/ \[[^\]]*\]$/, "")) === plain(label)) return "";
  return plain(own).startsWith(plain(label)) ? `${own[0].toUpperCase()}${own.slice(1)}.` : `${label}: ${own}.`;
}
