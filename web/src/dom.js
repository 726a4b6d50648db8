// Elements from names, attributes and children; texts are texts, never markup.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

export const byId = (id) => document.getElementById(id);

export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Control and direction signs spelled out, so that a name shows as what it is.
export function safe(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, (sign) =>
    `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// The middle left out of a long name: both ends tell names apart.
export function short(text, longest = 48) {
  const shown = [...safe(text)];
  if (shown.length <= longest) return shown.join("");
  const half = Math.floor((longest - 1) / 2);
  return `${shown.slice(0, longest - 1 - half).join("")}…${shown.slice(-half).join("")}`;
}

export const name = (text, longest) => el("bdi", { title: short(text, 1000) }, short(text, longest));

// A few names in a sentence: "a, b and 7 more".
export function named(names, most) {
  const rest = names.length - most;
  if (rest > 0) return `${names.slice(0, most).join(", ")} and ${rest} more`;
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("");
}

// A labelled list of choices; `options` are pairs of value and text.
export function choice(label, options, value, changed) {
  const select = el("select", { onchange: () => changed(select.value) },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, short(text, 60))));
  return el("label", { class: "choice" }, el("span", {}, label), select);
}

let speaking = null;

// Says something to those who do not see it; only the last of several quick ones.
export function say(text) {
  cancelAnimationFrame(speaking);
  speaking = requestAnimationFrame(() => { byId("live").textContent = text; });
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
