// What stands under every figure: its table, SVG, CSV, caption and a link.

import { all, el, safe, say } from "./dom.js";
import { SortedTable } from "./table.js";

export function furnish(figure, component, page) {
  const caption = figure.querySelector("figcaption");
  const table = el("div", { hidden: true });
  const key = `${component.panel.id}.table`;
  const shown = el("button", { type: "button", "aria-expanded": "false" }, "table");
  const open = (now) => {
    table.hidden = !now;
    shown.setAttribute("aria-expanded", String(now));
    table.replaceChildren(...(now ? [tableOf(component, page.state)] : []));
  };
  shown.addEventListener("click", () => {
    page.state.quietly({ [key]: table.hidden ? "1" : "" });
    open(table.hidden);
  });
  const tools = el("div", { class: "tools", role: "group", "aria-label": "This figure" },
    shown,
    component.svg ? el("button", { type: "button", onclick: () => save(`${figure.id}.svg`, "image/svg+xml", component.svg()) }, "SVG") : null,
    el("button", { type: "button", onclick: () => save(`${figure.id}.csv`, "text/csv", csv(component.rows())) }, "CSV"),
    el("button", { type: "button", onclick: (event) => copy(event.target, component.caption()) }, "caption"),
    el("button", { type: "button", onclick: (event) => copy(event.target, page.state.link({ tab: component.panel.tab, at: component.panel.id })) }, "link"));
  figure.querySelector(".body").replaceChildren(component.body);
  // Paper says what was chosen on the screen.
  caption.after(el("p", { class: "settings" }), tools, table);
  if (page.state.get(key, "") === "1") open(true);
}

// The numbers of a figure, as its CSV has them.
function tableOf(component, state) {
  const { columns, rows, meanings } = component.rows();
  const key = `${component.panel.id}.by`;
  const all = el("button", { type: "button", onclick: () => save(`${component.panel.id}.csv`, "text/csv", csv({ columns, rows })) }, "download all as CSV");
  const order = { get: () => state.get(key, ""), set: (text) => state.quietly({ [key]: text }) };
  return new SortedTable({ columns, heads: columns.map((key) => key.replaceAll("_", " ")), meanings, rows, shown: (row, i) => el("td", {}, safe(row[i])), state: order, rest: [all] }).body;
}

export function csv({ columns, rows }) {
  // A spreadsheet runs what begins so, unless it is a number.
  const plain = (value) => (/^[=+\-@\t\r]/.test(value) && !Number.isFinite(Number(value)) ? `'${value}` : value);
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return [columns, ...rows].map((row) => row.map((value) => quoted(plain(String(value)))).join(",")).join("\n") + "\n";
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
