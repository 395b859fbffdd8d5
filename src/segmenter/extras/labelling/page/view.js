// The image under its labels, at any zoom: one canvas of the size of the window.

const MAX_SCALE = 40;
const OVERLAY = "#ffffff";
const SHADOW = "#000000";

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.levels = [];
    this.labels = this.proposal = null;
    this.opacity = 0.6;
    this.showsProposal = true;
    this.cursor = null;
    this.outline = [];
    [this.scale, this.x, this.y] = [1, 0, 0];
    this.isWhole = true; // the whole image is shown, whatever size the canvas gets
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  // Show another image, given as a bitmap.
  async show(bitmap) {
    for (const level of this.levels) level.close();
    this.levels = [bitmap];
    [this.width, this.height] = [bitmap.width, bitmap.height];
    this.labels = this.proposal = null;
    this.outline = [];
    this.fit();
    // Smaller copies: a large image seen whole would else be read in full for each frame.
    for (let last = bitmap; Math.max(last.width, last.height) > 1024;) {
      const [resizeWidth, resizeHeight] = [last.width / 2, last.height / 2].map(Math.ceil);
      last = await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: "medium" });
      if (this.levels[0] !== bitmap) { last.close(); return; }
      this.levels.push(last);
    }
    this.redraw();
  }

  get ratio() { return window.devicePixelRatio || 1; }

  fit() {
    if (!this.width) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.scale = Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
    this.x = (clientWidth - this.width * this.scale) / 2;
    this.y = (clientHeight - this.height * this.scale) / 2;
    this.isWhole = true;
    this.redraw();
  }

  // Zoom to a part of the image, with as much again around it.
  showBox([left, top, width, height]) {
    const { clientWidth, clientHeight } = this.canvas;
    const scale = Math.min(clientWidth / width, clientHeight / height) / 2;
    this.scale = Math.min(Math.max(scale, this.scale), MAX_SCALE);
    this.x = clientWidth / 2 - (left + width / 2) * this.scale;
    this.y = clientHeight / 2 - (top + height / 2) * this.scale;
    this.isWhole = false;
    this.redraw();
  }

  // Zoom about a point of the canvas; without one, about its middle.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const { clientWidth, clientHeight } = this.canvas;
    const least = Math.min(1, clientWidth / this.width, clientHeight / this.height) / 2;
    const scale = Math.min(Math.max(this.scale * factor, least), MAX_SCALE);
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.isWhole = false;
    this.redraw();
  }

  pan(dx, dy) {
    const margin = 40;
    const keep = (at, size, room) => Math.min(Math.max(at, margin - size), room - margin);
    this.x = keep(this.x + dx, this.width * this.scale, this.canvas.clientWidth);
    this.y = keep(this.y + dy, this.height * this.scale, this.canvas.clientHeight);
    this.isWhole = false;
    this.redraw();
  }

  // The point of the image under a pointer: column and row, with fractions.
  toImage({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [(clientX - box.left - this.x) / this.scale, (clientY - box.top - this.y) / this.scale];
  }

  redraw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.#draw();
    });
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const old = [this.canvas.width, this.canvas.height];
    const size = [clientWidth, clientHeight].map((side) => Math.max(1, Math.round(side * this.ratio)));
    if (old[0] === size[0] && old[1] === size[1]) return;
    [this.canvas.width, this.canvas.height] = size;
    if (this.isWhole) this.fit();
    else this.pan((size[0] - old[0]) / this.ratio / 2, (size[1] - old[1]) / this.ratio / 2);
    this.redraw();
  }

  #draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.levels.length) return;
    const wanted = this.scale * this.ratio;
    const fits = (level) => level.width >= this.width * wanted;
    const level = this.levels.findLast(fits) ?? this.levels[0];
    this.#place(level, 1, wanted < 3);
    if (this.proposal && this.showsProposal) this.#place(this.proposal.canvas, this.opacity * 0.6, false);
    if (this.labels) this.#place(this.labels.canvas, this.opacity, false);
    this.#drawOutline();
    this.#drawCursor();
  }

  // Draw the part of a picture of the whole image that is seen.
  #place(picture, alpha, isSmooth) {
    const { context, ratio } = this;
    const [fx, fy] = [picture.width / this.width, picture.height / this.height];
    const left = Math.max(0, Math.floor(-this.x / this.scale));
    const top = Math.max(0, Math.floor(-this.y / this.scale));
    const right = Math.min(this.width, Math.ceil((this.canvas.clientWidth - this.x) / this.scale));
    const bottom = Math.min(this.height, Math.ceil((this.canvas.clientHeight - this.y) / this.scale));
    if (right <= left || bottom <= top) return;
    context.globalAlpha = alpha;
    context.imageSmoothingEnabled = isSmooth;
    const size = this.scale * ratio;
    context.drawImage(
      picture, left * fx, top * fy, (right - left) * fx, (bottom - top) * fy,
      this.x * ratio + left * size, this.y * ratio + top * size, (right - left) * size, (bottom - top) * size,
    );
  }

  #stroke(path) {
    const { context } = this;
    context.globalAlpha = 1;
    for (const [color, width] of [[SHADOW, 3], [OVERLAY, 1]]) {
      context.strokeStyle = color;
      context.lineWidth = width * this.ratio;
      context.stroke(path);
    }
  }

  #drawOutline() {
    if (!this.outline.length) return;
    const path = new Path2D();
    for (const [x, y] of this.outline) {
      path.lineTo((this.x + x * this.scale) * this.ratio, (this.y + y * this.scale) * this.ratio);
    }
    this.#stroke(path);
  }

  #drawCursor() {
    if (!this.cursor) return;
    const { x, y, radius } = this.cursor;
    const path = new Path2D();
    const size = Math.max(radius * this.scale, 1.5) * this.ratio;
    path.arc((this.x + x * this.scale) * this.ratio, (this.y + y * this.scale) * this.ratio, size, 0, 2 * Math.PI);
    this.#stroke(path);
  }
}
