// What the colours of a panel's maps mean: where they end, the table they come from, and the words for both.

import { PALETTES } from "./colour.js";
import { unitOf } from "./data.js";
import { count, number, titled } from "./format.js";
import { clipped, range } from "./grid.js";
import { themed } from "./heat.js";
import { CanvasInk, textWidth } from "./ink.js";
import { legend } from "./legend.js";

const ENDS = {
  "": "from zero", zero: "from zero to the largest", data: "from the data", step: "from zero, of this step",
  shown: "from zero, of the models shown",
};

// The signs of cells beyond the colours, as they stand on the maps.
const marks = ({ up, down }) => (up && down ? "▲▼" : down ? "▼" : "▲");

// The values that lie above limits that the measure itself sets.
function above(maps, limit) {
  const found = maps.flatMap((map) => map.values.filter((value) => Number.isFinite(value) && value > limit * (1 + 1e-6)));
  return found.length ? { limit, beyond: found.length, largest: Math.max(...found), up: true, down: false } : null;
}

export class Scale {
  constructor(maps) {
    this.maps = maps;
    this.canvas = maps.scale;
  }

  get wanted() {
    const wanted = this.maps.chosen("lim", "");
    return wanted in ENDS ? wanted : "";
  }

  // Models that are hidden count, so that a press on one changes no colour, unless only those shown are asked for.
  fit() {
    const { measure, maps, every } = this.maps;
    this.signed = maps.some((map) => map.signed);
    this.beyond = this.apart = null;
    this.own = measure.limits && !this.signed ? measure.limits : null;
    this.fixed = Boolean(this.own) && this.wanted !== "data";
    if (this.fixed) {
      this.limits = measure.limits;
      this.beyond = above(every, measure.limits[1]);
      return;
    }
    const { wanted } = this;
    const counted = this.signed || wanted === "shown" ? maps : every;
    const lists = this.maps.slider && wanted !== "step" ? [this.maps.allValues(wanted === "shown")] : counted.map((map) => map.values);
    const [low, high] = range(lists, this.signed || measure.palette === "difference", wanted !== "data");
    this.apart = clipped(lists);
    if (this.apart && this.maps.slider && wanted !== "step") this.apart.of = " of all steps";
    if (["zero", "data"].includes(wanted)) this.limits = [low, high];
    else {
      this.beyond = this.apart;
      this.limits = this.beyond ? [low < 0 ? -this.beyond.limit : low, this.beyond.limit] : [low, high];
    }
  }

  // What colours may end at; where a few cells lie far beyond all others, they need not set the scale.
  choices() {
    if (this.own) return [["", `${number(this.own[0])} to ${number(this.own[1])}`], ["data", ENDS.data]];
    const told = (key) => [key, key === "" && this.apart ? `from zero, the few largest marked ${marks(this.apart)}` : ENDS[key]];
    const { wanted } = this;
    const shown = wanted === "shown" || (!this.signed && this.maps.maps.length < this.maps.every.length) ? ["shown"] : [];
    const around = this.limits[0] < 0;
    const keys = ["", ...(this.apart ? ["zero"] : []), ...(around ? [] : ["data"]), ...(this.maps.slider && !around ? ["step"] : []), ...shown];
    if (!keys.includes(wanted)) keys.push(wanted);
    return keys.length < 2 ? [] : keys.map(told);
  }

  get kind() {
    const { palette } = this.maps.measure;
    return this.limits[0] < 0 ? "difference" : palette === "difference" ? "change" : palette;
  }

  get palettes() {
    return PALETTES[this.kind] ?? [];
  }

  get palette() {
    const wanted = this.maps.chosen("pal", "");
    return this.palettes.includes(wanted) ? wanted : this.palettes[0];
  }

  get label() {
    const { label } = this.maps.measure;
    return this.signed ? `difference of ${label}` : label;
  }

  get title() {
    const { frame, measure, every } = this.maps;
    return titled(this.label, unitOf(frame, measure.column, every[0]?.rows[0]));
  }

  bar(ink, inks, width, room) {
    legend(ink, inks, { palette: this.palette, limits: this.limits, label: this.title, beyond: this.beyond }, 8, 4, width, room);
  }

  // The bar leaves room for its title.
  draw(width) {
    const bar = Math.max(90, Math.min(220, width - 190, width - textWidth(this.title, 11, true) - 26));
    this.bar(new CanvasInk(this.canvas, width, 30), themed(), bar, width);
  }

  told() {
    const bounds = this.limits.map((limit) => number(limit, 3)).join(" to ");
    const over = this.beyond ? ` ${count(this.beyond.beyond, "value")}${this.beyond.of ?? ""} beyond, to ${number(this.beyond.largest, 3)}, marked by a triangle.` : "";
    const hidden = this.wanted !== "shown" && !this.signed && !this.fixed && this.maps.maps.length < this.maps.every.length;
    return `Colour: ${this.title}, ${bounds}${hidden ? ", hidden models counted" : ""}.${over}`;
  }
}
