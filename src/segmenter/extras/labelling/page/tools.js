// From pointers to strokes, and to moves of the view.

import { boxOf, Touched } from "./runs.js";
import { NOTHING } from "./layers.js";

const NEAR = 12; // pixels of the window

// Calls of `actions`: stroke(tool, label, runs), grow(row, column), accept(runs).
export class Tools {
  constructor(view, actions) {
    this.view = view;
    this.actions = actions;
    this.tool = "brush";
    this.label = NOTHING;
    this.size = 15;
    this.isEnabled = false;
    this.isSpaceHeld = false;
    this.pointers = new Map();
    this.active = null; // the stroke that is being drawn
    this.corners = []; // of the polygon that is being drawn
    this.hasPen = false;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.#up(event));
    }
    canvas.addEventListener("pointerleave", () => this.#hover(null));
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  // Another image of this size.
  reset(width, height) {
    this.touched = new Touched(width, height);
    this.cancel();
  }

  choose(tool) {
    this.cancel();
    this.tool = tool;
    this.view.canvas.style.cursor = { pan: "grab", brush: "none", eraser: "none" }[tool] ?? "crosshair";
    if (!this.#hasBrush) this.#hover(null);
  }

  // Drop what is being drawn.
  cancel() {
    this.corners = [];
    this.#dropActive();
    this.view.redraw();
  }

  #dropActive() {
    if (this.active?.isBrush) this.actions.restore();
    this.active = null;
    this.touched?.clear();
    this.view.outline = [...this.corners];
  }

  closePolygon() {
    const corners = this.corners;
    this.corners = [];
    this.view.outline = [];
    this.view.redraw();
    if (corners.length < 3) return;
    this.touched.polygon(corners);
    this.#finish("polygon", this.label);
  }

  // Drop the last corner of the polygon; false if there is none.
  dropCorner() {
    if (!this.corners.length) return false;
    this.corners.pop();
    this.view.outline = [...this.corners];
    this.view.redraw();
    return true;
  }

  #isAtFirstCorner([x, y]) {
    if (this.corners.length < 3) return false;
    const [[x0, y0]] = this.corners;
    return Math.hypot(x - x0, y - y0) * this.view.scale < NEAR;
  }

  get isDrawing() { return Boolean(this.active || this.corners.length); }

  get #hasBrush() { return this.tool === "brush" || this.tool === "eraser"; }

  get #brushLabel() { return this.tool === "eraser" ? NOTHING : this.label; }

  #down(event) {
    const { view } = this;
    const isPen = event.pointerType === "pen";
    this.hasPen ||= isPen;
    const isPalm = this.hasPen && event.pointerType === "touch";
    if (isPalm && this.active && !this.active.isPan) return; // beside the pen that draws
    if (isPen && this.pointers.size) { // what touches already is a palm
      this.pointers.clear();
      this.#dropActive();
    }
    view.canvas.focus({ preventScroll: true });
    view.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size > 1) { // a second finger: the view is moved, and nothing drawn
      this.cancel();
      this.active = { isPan: true };
      return;
    }
    if (event.button === 1 || this.isSpaceHeld || this.tool === "pan" || isPalm) {
      this.active = { isPan: true };
      return;
    }
    if (!this.isEnabled || event.button !== 0) return;
    this.#begin(view.toImage(event));
  }

  #begin(point) {
    const [column, row] = point.map(Math.floor);
    const isInside = column >= 0 && row >= 0 && column < this.view.width && row < this.view.height;
    if (this.#hasBrush) {
      this.active = { isBrush: true, last: point };
      this.#dab(point);
    } else if (this.tool === "lasso") {
      this.active = { isLasso: true, points: [point] };
    } else if (this.tool === "polygon" && this.#isAtFirstCorner(point)) {
      this.closePolygon();
    } else if (this.tool === "polygon") {
      this.corners.push(point);
      this.view.outline = [...this.corners];
      this.view.redraw();
    } else if (isInside && this.tool === "fill") {
      this.touched.flood(this.view.labels.labels, column, row);
      this.#finish("fill", this.label);
    } else if (isInside && this.tool === "grow") {
      this.actions.grow(row, column);
    }
  }

  #move(event) {
    const point = this.view.toImage(event);
    this.#hover(point);
    const before = this.pointers.get(event.pointerId);
    if (before) this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.corners.length) {
      this.view.outline = [...this.corners, point];
      this.view.redraw();
    }
    if (!before || !this.active) return;
    if (this.active.isPan) {
      this.#pan(event, before);
      return;
    }
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const each of steps.length ? steps : [event]) {
      const at = this.view.toImage(each);
      if (this.active.isBrush) this.#dab(at);
      else this.active.points.push(at);
    }
    if (this.active.isLasso) {
      this.view.outline = [...this.active.points, this.active.points[0]];
      this.view.redraw();
    }
  }

  #up(event) {
    const isKnown = this.pointers.delete(event.pointerId);
    const { active } = this;
    if (!isKnown || !active || (active.isPan && this.pointers.size)) return;
    if (event.type === "pointercancel") {
      this.#dropActive();
      this.view.redraw();
      return;
    }
    this.active = null;
    if (active.isBrush) {
      this.#finish(this.tool, this.#brushLabel);
    } else if (active.isLasso) {
      this.view.outline = [];
      this.touched.polygon(active.points);
      const runs = this.touched.runs();
      this.touched.clear();
      if (runs.length) this.actions.accept(runs);
    }
    this.view.redraw();
  }

  // Move the view with one pointer, or with two also zoom it.
  #pan(event, [x, y]) {
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (!others.length) {
      this.view.pan(event.clientX - x, event.clientY - y);
      return;
    }
    const [, [ox, oy]] = others[0];
    const box = this.view.canvas.getBoundingClientRect();
    const distance = (ax, ay) => Math.max(1, Math.hypot(ax - ox, ay - oy));
    const factor = distance(event.clientX, event.clientY) / distance(x, y);
    this.view.pan((event.clientX - x) / 2, (event.clientY - y) / 2);
    this.view.zoom(factor, (event.clientX + ox) / 2 - box.left, (event.clientY + oy) / 2 - box.top);
  }

  #dab(point) {
    const radius = this.size / 2;
    const { last } = this.active;
    this.touched.capsule(last, point, radius);
    this.active.last = point;
    const { labels } = this.view;
    const [top, bottom] = [Math.min(last[1], point[1]) - radius, Math.max(last[1], point[1]) + radius];
    const [left, right] = [Math.min(last[0], point[0]) - radius, Math.max(last[0], point[0]) + radius];
    const box = [
      Math.max(0, Math.floor(top) - 1), Math.max(0, Math.floor(left) - 1),
      Math.min(labels.height, Math.ceil(bottom) + 1), Math.min(labels.width, Math.ceil(right) + 1),
    ];
    const label = this.#brushLabel;
    for (let row = box[0]; row < box[2]; row++) {
      for (let at = row * labels.width + box[1], end = row * labels.width + box[3]; at < end; at++) {
        if (this.touched.mask[at]) labels.labels[at] = label;
      }
    }
    if (box[2] > box[0] && box[3] > box[1]) labels.draw(box);
    this.view.redraw();
  }

  #finish(tool, label) {
    const runs = this.touched.runs();
    this.touched.clear();
    if (!runs.length) return;
    const { labels } = this.view;
    labels.paint(runs, label);
    labels.draw(boxOf(runs));
    this.view.redraw();
    this.actions.stroke(tool, label, runs);
  }

  #hover(point) {
    const cursor = point && this.#hasBrush ? { x: point[0], y: point[1], radius: this.size / 2 } : null;
    if (!cursor && !this.view.cursor) return;
    this.view.cursor = cursor;
    this.view.redraw();
  }

  #wheel(event) {
    event.preventDefault();
    const box = this.view.canvas.getBoundingClientRect();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.002; // with ctrl: a pinch on a touchpad
    this.view.zoom(
      Math.exp(-event.deltaY * lines * speed), event.clientX - box.left, event.clientY - box.top,
    );
  }
}
