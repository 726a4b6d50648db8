// Numbers as texts: four significant digits, thousands apart, tiny and huge ones as powers.

export function number(value, digits = 4) {
  if (value == null || Number.isNaN(value)) return "n/a";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 1e6 || size < 1e-4) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    text = `${trimmed(mantissa)}e${Number(power)}`;
  } else if (size >= 10 ** digits) {
    text = Math.round(value).toLocaleString("en-US");
  } else {
    text = trimmed(value.toPrecision(digits));
  }
  return text.replace("-", "−");
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

// For files: enough digits to read a float32 back, a plain minus.
export function exact(value) {
  if (value == null) return "";
  return Number.isNaN(value) ? "NaN" : String(Number(value.toPrecision(8)));
}

export const count = (value, one, many = `${one}s`) => `${value.toLocaleString("en-US")} ${value === 1 ? one : many}`;
