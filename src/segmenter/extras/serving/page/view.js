// What the canvas shows: the image, and over it classes, confidence or attention.

import { findRegions, resizeNearest } from "./labels.js";

const MAX_PIXELS = 1.5e6; // of the canvas: larger images are drawn smaller
const LINE = [255, 255, 255, 150];

/** Blue over green to yellow, for a value from 0 to 1: even steps for the eye, also in grey. */
function heat(value) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const place = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
  const lower = Math.min(Math.floor(place), stops.length - 2);
  return stops[lower].map((from, channel) =>
    Math.round(from + (stops[lower + 1][channel] - from) * (place - lower)));
}

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.mode = "overlay";
    this.opacity = 0.55;
    this.split = 0.5;
    this.highlight = null; // {region} or {label}
    this.hidden = new Set();
    this.attention = null; // {values, grid, marked}
    this.confidence = null;
  }

  /** Take an image and its labels, at the size of the canvas. */
  show(image, result, colors) {
    const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (result.width * result.height)));
    this.size = [result.height, result.width].map((side) => Math.max(1, Math.round(side * scale)));
    [this.canvas.height, this.canvas.width] = this.size;
    this.image = image;
    this.colors = colors;
    this.labels = resizeNearest(result.labels, [result.height, result.width], this.size);
    this.regions = findRegions(this.labels, ...this.size);
    this.highlight = this.attention = this.confidence = null;
    this.hidden.clear();
    this.draw();
  }

  /** Index of the pixel at a place on the screen. */
  pixelAt(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const [height, width] = this.size;
    const column = Math.floor(((clientX - box.left) / box.width) * width);
    const row = Math.floor(((clientY - box.top) / box.height) * height);
    const inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? { row, column, at: row * width + column } : null;
  }

  draw() {
    if (!this.image) return;
    const [height, width] = this.size;
    const context = this.canvas.getContext("2d");
    context.drawImage(this.image, 0, 0, width, height);
    const layer = this.mode === "attention" ? this.attention && this.#attentionLayer()
      : this.mode === "confidence" ? this.confidence && this.#confidenceLayer()
      : this.#classLayer();
    if (!layer) return;
    const scratch = new OffscreenCanvas(width, height);
    scratch.getContext("2d").putImageData(layer, 0, 0);
    context.save();
    if (this.mode === "compare") {
      context.beginPath();
      context.rect(this.split * width, 0, width, height);
      context.clip();
    }
    context.drawImage(scratch, 0, 0);
    context.restore();
    if (this.mode === "attention" && this.attention?.marked) this.#mark(context);
  }

  #classLayer() {
    const [height, width] = this.size;
    const image = new ImageData(width, height);
    const alpha = Math.round(255 * this.opacity);
    const { labels, regions, highlight } = this;
    for (let at = 0, row = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at++) {
        const label = labels[at];
        if (label >= this.colors.length || this.hidden.has(label)) continue;
        const isBorder = (column && labels[at - 1] !== label) || (row && labels[at - width] !== label);
        const isLit = highlight && (highlight.region === regions[at] || highlight.label === label);
        const color = isBorder ? LINE : this.colors[label];
        image.data.set(color, 4 * at);
        image.data[4 * at + 3] = isBorder ? (alpha ? LINE[3] : 0)
          : highlight ? (isLit ? Math.max(alpha, 190) : alpha * 0.3) : alpha;
      }
    }
    return image;
  }

  #confidenceLayer() {
    const [height, width] = this.size;
    const image = new ImageData(width, height);
    const alpha = Math.round(255 * Math.max(this.opacity, 0.3));
    for (let at = 0; at < this.confidence.length; at++) {
      image.data.set([...heat(this.confidence[at] / 255), alpha], 4 * at);
    }
    return image;
  }

  #attentionLayer() {
    const [height, width] = this.size;
    const { values, grid } = this.attention;
    // One patch often outshines all: the brightest hundredth shares the top of the scale.
    const rising = Float32Array.from(values).sort();
    const top = rising[Math.ceil(0.99 * rising.length) - 1] || 1;
    const image = new ImageData(width, height);
    const alpha = Math.round(255 * Math.max(this.opacity, 0.3));
    const whole = resizeNearest(Float32Array.from(values), grid, this.attention.covered(this.size));
    const coveredWidth = this.attention.covered(this.size)[1];
    for (let at = 0, row = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at++) {
        image.data.set([...heat(whole[row * coveredWidth + column] / top), alpha], 4 * at);
      }
    }
    return image;
  }

  #mark(context) {
    const [rows, columns] = this.attention.grid;
    const [height, width] = this.attention.covered(this.size);
    const [row, column] = this.attention.marked;
    context.lineWidth = 3;
    for (const [style, offset] of [["#000", 1], ["#fff", 0]]) {
      context.strokeStyle = style;
      context.strokeRect((column * width) / columns - offset, (row * height) / rows - offset,
        width / columns + 2 * offset, height / rows + 2 * offset);
    }
  }
}
