// What stands under every figure: its table, SVG, CSV, caption and a link.

import { all, byId, el, safe, say } from "./dom.js";

const MOST_ROWS = 500;

export function furnish(figure, component, page) {
  const caption = figure.querySelector("figcaption");
  const table = el("div", { class: "wide behind", hidden: true });
  const shown = el("button", { type: "button", "aria-expanded": "false", onclick: () => toggle(shown, table, component) }, "table");
  const tools = el("div", { class: "tools", role: "group", "aria-label": "This figure" },
    shown,
    component.svg ? el("button", { type: "button", onclick: () => save(`${figure.id}.svg`, "image/svg+xml", component.svg()) }, "SVG") : null,
    el("button", { type: "button", onclick: () => save(`${figure.id}.csv`, "text/csv", csv(component.rows())) }, "CSV"),
    el("button", { type: "button", onclick: (event) => copy(event.target, component.caption()) }, "caption"),
    el("button", { type: "button", onclick: (event) => copy(event.target, page.state.link({ tab: component.panel.tab, at: component.panel.id })) }, "link"));
  figure.querySelector(".body").replaceChildren(component.body);
  caption.after(tools, table);
}

function toggle(button, place, component) {
  place.hidden = !place.hidden;
  button.setAttribute("aria-expanded", String(!place.hidden));
  if (place.hidden) return;
  const { columns, rows } = component.rows();
  const body = el("tbody", {});
  const told = el("p", { class: "small rest" });
  const more = () => {
    const from = body.childElementCount;
    body.append(...rows.slice(from, from + MOST_ROWS).map((row) => el("tr", {}, row.map((value) => el("td", {}, safe(value))))));
    const count = (value) => value.toLocaleString("en-US");
    const rest = body.childElementCount < rows.length;
    told.replaceChildren(`${rest ? `The first ${count(body.childElementCount)} of ` : ""}${count(rows.length)} rows. `,
      ...(rest ? [el("button", { type: "button", onclick: more }, `show ${count(Math.min(MOST_ROWS, rows.length - body.childElementCount))} more`)] : []),
      el("button", { type: "button", onclick: () => save(`${component.panel.id}.csv`, "text/csv", csv({ columns, rows })) }, "download all as CSV"));
  };
  more();
  place.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, columns.map((key) => el("th", { scope: "col" }, key)))), body), told);
}

export function csv({ columns, rows }) {
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return [columns, ...rows].map((row) => row.map((value) => quoted(String(value))).join(",")).join("\n") + "\n";
}

export function save(file, kind, text) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  const anchor = el("a", { href: address, download: file });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export async function copy(button, text) {
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without permission, as under file:// in some browsers, the old way still works.
    const field = el("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.textContent = "copied";
  say("copied");
  setTimeout(() => { button.textContent = before; }, 1200);
}

export function wireCopies() {
  for (const button of all("button.copy")) {
    button.addEventListener("click", () => copy(button, button.parentElement.firstElementChild.textContent));
  }
}

export { byId };
