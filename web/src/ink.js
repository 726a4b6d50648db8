// One way of drawing for two papers: a canvas to look at, and SVG to keep, with text as text.

import { short } from "./dom.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

export class CanvasInk {
  constructor(canvas, width, height) {
    const ratio = Math.max(1, Math.min(3, devicePixelRatio || 1));
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    this.at = canvas.getContext("2d");
    this.at.scale(ratio, ratio);
  }

  rect(x, y, width, height, fill) {
    this.at.fillStyle = fill;
    this.at.fillRect(x, y, width, height);
  }

  frame(x, y, width, height, stroke, thick = 1) {
    this.at.strokeStyle = stroke;
    this.at.lineWidth = thick;
    this.at.strokeRect(x, y, width, height);
  }

  line(points, stroke, thick = 1, dash = []) {
    this.at.strokeStyle = stroke;
    this.at.lineWidth = thick;
    this.at.setLineDash(dash);
    this.at.beginPath();
    points.forEach(([x, y], i) => (i ? this.at.lineTo(x, y) : this.at.moveTo(x, y)));
    this.at.stroke();
    this.at.setLineDash([]);
  }

  shape(points, fill) {
    this.at.fillStyle = fill;
    this.at.beginPath();
    points.forEach(([x, y], i) => (i ? this.at.lineTo(x, y) : this.at.moveTo(x, y)));
    this.at.fill();
  }

  dot(x, y, radius, fill) {
    this.at.fillStyle = fill;
    this.at.beginPath();
    this.at.arc(x, y, radius, 0, 7);
    this.at.fill();
  }

  text(x, y, text, { fill, size = 11, anchor = "start", bold = false, turn = 0 }) {
    this.at.save();
    this.at.fillStyle = fill;
    this.at.font = `${bold ? "600 " : ""}${size}px ${FONT}`;
    this.at.textAlign = { start: "left", middle: "center", end: "right" }[anchor];
    this.at.textBaseline = "middle";
    this.at.translate(x, y);
    this.at.rotate((turn * Math.PI) / 180);
    this.at.fillText(text, 0, 0);
    this.at.restore();
  }

  // Many cells at once: a picture of one pixel a cell, enlarged without smoothing.
  cells(x, y, width, height, columns, rows, colour) {
    const small = document.createElement("canvas");
    small.width = columns;
    small.height = rows;
    const picture = small.getContext("2d").createImageData(columns, rows);
    for (let i = 0; i < columns * rows; i++) {
      const rgb = colour(i);
      if (rgb) picture.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * i);
    }
    small.getContext("2d").putImageData(picture, 0, 0);
    this.at.imageSmoothingEnabled = false;
    this.at.drawImage(small, x, y, width, height);
  }
}

const clean = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const round = (value) => Math.round(value * 100) / 100;

export class SvgInk {
  constructor(width, height) {
    this.size = [width, height];
    this.parts = [];
  }

  rect(x, y, width, height, fill) {
    this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="${fill}"/>`);
  }

  frame(x, y, width, height, stroke, thick = 1) {
    this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="none" stroke="${stroke}" stroke-width="${thick}"/>`);
  }

  line(points, stroke, thick = 1, dash = []) {
    const path = points.map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
    const dashed = dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    this.parts.push(`<polyline points="${path}" fill="none" stroke="${stroke}" stroke-width="${thick}"${dashed}/>`);
  }

  shape(points, fill) {
    this.parts.push(`<polygon points="${points.map(([x, y]) => `${round(x)},${round(y)}`).join(" ")}" fill="${fill}"/>`);
  }

  dot(x, y, radius, fill) {
    this.parts.push(`<circle cx="${round(x)}" cy="${round(y)}" r="${radius}" fill="${fill}"/>`);
  }

  text(x, y, text, { fill, size = 11, anchor = "start", bold = false, turn = 0 }) {
    const turned = turn ? ` transform="rotate(${turn} ${round(x)} ${round(y)})"` : "";
    this.parts.push(`<text x="${round(x)}" y="${round(y)}" dy="0.35em" font-size="${size}" text-anchor="${anchor}"${bold ? ' font-weight="600"' : ""} fill="${fill}"${turned}>${clean(text)}</text>`);
  }

  cells(x, y, width, height, columns, rows, colour) {
    const [w, h] = [width / columns, height / rows];
    for (let i = 0; i < columns * rows; i++) {
      const rgb = colour(i);
      if (rgb) this.rect(x + (i % columns) * w, y + Math.floor(i / columns) * h, w, h, `rgb(${rgb.join(",")})`);
    }
  }

  // The picture at some place of a larger one.
  placed(x, y) {
    return `<g transform="translate(${round(x)} ${round(y)})">${this.parts.join("\n")}</g>`;
  }
}

export function svg(width, height, body, caption) {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width)}" height="${round(height)}" viewBox="0 0 ${round(width)} ${round(height)}" font-family='${FONT}'>\n<title>${clean(caption)}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n${body}\n</svg>\n`;
}

let ruler = null;
const widths = new Map();

export function textWidth(text, size = 11, bold = false) {
  const key = `${bold} ${size} ${text}`;
  if (!widths.has(key)) {
    ruler ??= document.createElement("canvas").getContext("2d");
    ruler.font = `${bold ? "600 " : ""}${size}px ${FONT}`;
    widths.set(key, ruler.measureText(text).width);
  }
  return widths.get(key);
}

// The text, which is a title's, with its middle left out until it fits.
export function fitted(text, width, size = 12) {
  let most = [...text].length;
  let shown = text;
  while (most > 6 && textWidth(shown, size, true) > width) shown = short(text, (most -= 2));
  return shown;
}
