// The page wakes up: data, tabs, chips, figures, drawer, search; the sentences stand there already.

import "./locale.js";
import { cell, code, decoded, tabled } from "./data.js";
import { meant } from "./cells.js";
import { forget, modelClass } from "./colour.js";
import { all, byId, el, say } from "./dom.js";
import { csv, furnish, save, wireCopies } from "./figure.js";
import { Drawer } from "./drawer.js";
import { Search } from "./search.js";
import { wireTabs } from "./tabs.js";
import { orderModules } from "./grid.js";
import { Gain } from "./gain.js";
import { Grids } from "./grids.js";
import { Lines } from "./lines.js";
import { Maps } from "./maps.js";
import { Rows } from "./rows.js";
import { Scatter } from "./scatter.js";
import { Squares } from "./squares.js";
import * as state from "./state.js";
import { fold, wireTold } from "./told.js";

const KINDS = { gain: Gain, grids: Grids, lines: Lines, maps: Maps, rows: Rows, scatter: Scatter, squares: Squares };

class Page {
  constructor(document) {
    Object.assign(this, document);
    this.state = state;
    this.mounted = new Map();
    this.found = new Map();
  }

  width() {
    return (document.querySelector("main")?.clientWidth ?? 900) - 48;
  }

  hidden() {
    const places = state.get("hide", "").split(",").filter(Boolean).map(Number);
    return new Set(places.map((place) => this.models[place]));
  }

  swatch(model) {
    const place = this.models.indexOf(model);
    return place < 0 ? null : el("span", { class: modelClass(place), "aria-hidden": "true" });
  }

  // The cells of a panel that a brush took in, or that the answer followed last means: in its own tab alone.
  marks({ tab }) {
    if (this.brushed) return this.brushed;
    const place = state.get("mark", "");
    const finding = this.findings[Number(place)];
    if (place === "" || finding?.tab !== tab) return new Set();
    if (!this.found.has(place)) {
      const frames = new Set(this.panels.filter((panel) => panel.tab === tab).map((panel) => this.data[panel.data]));
      this.found.set(place, meant(finding, frames));
    }
    return this.found.get(place);
  }

  clear() {
    this.brushed = null;
    for (const marked of all(".meant")) marked.classList.remove("meant");
    state.set({ mark: "" });
  }

  brush(keys) {
    this.brushed = keys;
    this.mark();
  }

  mark() {
    for (const component of this.mounted.values()) component.mark?.(this.marks(component.panel));
  }

  // The rows of one weight; of tables without models or of pairs, those that concern it.
  rowsOf(frame, { model, stack, component }) {
    const name = code(frame, "component_name", component);
    if (name < 0) return [];
    frame.byName ??= grouped(frame);
    return (frame.byName.get(name) ?? []).filter((row) => {
      if (stack && frame.columns.stack && cell(frame, "stack", row) !== stack) return false;
      if (frame.columns.model_a) return [cell(frame, "model_a", row), cell(frame, "model_b", row)].includes(model);
      return !frame.columns.model_id || cell(frame, "model_id", row) === model;
    });
  }

  open(key) {
    state.set({ cell: key });
  }

  // Figures are made when their tab is first seen, one after the other, so that the page answers meanwhile.
  async mount(tab) {
    for (const figure of all(".panel")) {
      const place = Number(figure.dataset.panel);
      if (this.panels[place].tab !== tab || this.mounted.has(place)) continue;
      this.make(figure, place);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  // Brings the first figure of a tab that shows what a finding means into view, at the cell itself.
  async reveal(tab, { models, components, statistic }) {
    await this.mount(tab);
    const keys = components.length ? this.marks({ tab }) : new Set();
    const places = [...this.mounted.keys()].filter((place) => this.panels[place].tab === tab).sort((a, b) => a - b);
    for (const place of places) this.mounted.get(place).measured?.(statistic);
    const shown = places.map((place) => this.mounted.get(place).locate?.(keys, models, statistic)).find(Boolean);
    (shown ?? byId(`pane-${tab}`)).scrollIntoView({ block: shown ? "center" : "start" });
    for (const marked of all(".meant")) marked.classList.remove("meant");
    shown?.classList.add("meant");
  }

  make(figure, place) {
    const panel = this.panels[place];
    const component = new KINDS[panel.kind](panel, this);
    this.mounted.set(place, component);
    furnish(figure, component, this);
    component.laid?.();
  }

  // Paper holds every tab, in the light scheme.
  print() {
    document.documentElement.dataset.paper = "";
    this.folded = document.querySelector("main").classList.contains("folded");
    fold(false);
    // Sentences that a press would show stand on paper, too.
    this.closed = all("main details").filter((details) => !details.open);
    for (const details of this.closed) details.open = true;
    forget();
    for (const figure of all(".panel")) if (!this.mounted.has(Number(figure.dataset.panel))) this.make(figure, Number(figure.dataset.panel));
    this.again();
    for (const component of this.mounted.values()) component.body.closest(".panel").querySelector(".settings").textContent = component.settings?.() ?? "";
  }

  printed() {
    delete document.documentElement.dataset.paper;
    fold(this.folded);
    for (const details of this.closed) details.open = false;
    forget();
    this.again();
  }

  again() {
    for (const component of this.mounted.values()) component.render();
  }
}

function grouped(frame) {
  const rows = new Map();
  const names = frame.columns.component_name.values;
  for (let row = 0; row < frame.rows; row++) {
    const own = rows.get(names[row]);
    if (own) own.push(row);
    else rows.set(names[row], [row]);
  }
  return rows;
}

function wireChips(page) {
  const chips = all("button[data-model]");
  const show = () => chips.forEach((chip) => chip.setAttribute("aria-pressed", String(!page.hidden().has(page.models[Number(chip.dataset.model)]))));
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      // What the tab has nothing of cannot be hidden there.
      if (chip.getAttribute("aria-disabled") === "true") return;
      const hidden = new Set(state.get("hide", "").split(",").filter(Boolean));
      const own = chip.dataset.model;
      if (!hidden.delete(own)) hidden.add(own);
      state.set({ hide: [...hidden].sort((a, b) => a - b).join(",") });
      say(`${chip.textContent.trim()} ${hidden.has(own) ? "hidden" : "shown"}`);
    });
  }
  show();
  state.on((keys) => keys.has("hide") && show());
  const row = document.querySelector(".top .chips");
  const more = el("button", { type: "button", class: "plain small all-chips", "aria-expanded": "false", hidden: true, onclick: () => unfold(row.classList.toggle("whole")) });
  const unfold = (whole) => {
    more.setAttribute("aria-expanded", String(whole));
    more.hidden = !whole && row.scrollHeight <= row.clientHeight + 4;
    more.textContent = whole ? "fewer rows" : `show all ${chips.length} models`;
    measureHeader();
  };
  row.after(more);
  unfold(false);
  addEventListener("resize", () => unfold(row.classList.contains("whole")));
}

function wireAnswers(page) {
  for (const anchor of all("a.show")) {
    anchor.after(el("button", { type: "button", class: "plain clear", onclick: () => page.clear() }, "clear"));
    anchor.addEventListener("click", (event) => {
      event.preventDefault();
      const chosen = new URLSearchParams(anchor.hash.slice(1));
      const same = state.get("mark", "") === chosen.get("mark");
      page.brushed = null;
      state.set({ tab: chosen.get("tab"), mark: same ? "" : chosen.get("mark"), cell: "" });
      if (!same) page.reveal(chosen.get("tab"), page.findings[Number(chosen.get("mark"))]);
    });
  }
  const pressed = () => all("li[data-finding]").forEach((item) => item.classList.toggle("marked", item.dataset.finding === state.get("mark", "-")));
  pressed();
  state.on((keys) => { if (keys.has("mark")) { pressed(); page.mark(); } });
  // Escape closes the open weight first.
  document.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && byId("drawer").hidden && (page.brushed || state.get("mark", "")) && page.clear());
}

function wireTables(page) {
  for (const button of all("button[data-csv]")) {
    button.addEventListener("click", () => {
      const frame = page.data[button.dataset.csv];
      save(`${button.dataset.csv}.csv`, "text/csv", csv(tabled(frame, undefined, Object.keys(frame.columns))));
    });
  }
}

// What is scrolled to must not end up below the bar that stays.
function measureHeader() {
  const stays = document.querySelector(".stays");
  document.documentElement.style.setProperty("--top", `${stays.offsetHeight + 14}px`);
}

async function start() {
  const page = new Page(await decoded(byId("data").textContent));
  orderModules(page.order);
  const drawer = new Drawer(page);
  measureHeader();
  wireTold();
  const drawn = wireTabs(page);
  wireChips(page);
  wireAnswers(page);
  wireTables(page);
  wireCopies();
  new Search(page);
  state.on((keys) => {
    for (const component of page.mounted.values()) component.changed?.(keys);
    if (keys.has("cell")) drawer.show(state.get("cell", ""));
  });
  drawer.show(state.get("cell", ""));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { forget(); page.again(); });
  let waiting = null;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { measureHeader(); page.again(); }, 120); });
  addEventListener("beforeprint", () => page.print());
  addEventListener("afterprint", () => page.printed());
  const { dataset } = document.documentElement;
  dataset.ready = String(Math.round(performance.now()));
  await drawn;
  dataset.whole = String(Math.round(performance.now()));
}

start();
