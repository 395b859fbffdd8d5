// Maps of labels as canvases: only the rectangle that changes is drawn anew.

export const NOTHING = 255;
export const NOT_SURE = 254;
const STRIP = 256; // rows drawn at a time, so that a large image needs no second copy

// Colours as the 32 bits of a pixel in a canvas: alpha, blue, green, red.
export function tableOf(classes) {
  const table = new Uint32Array(256);
  classes.forEach(({ color: [red, green, blue] }, index) => {
    table[index] = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
  });
  table[NOT_SURE] = 0xff808080;
  return table;
}

export class Layer {
  constructor(width, height, labels, table) {
    Object.assign(this, { width, height, labels, table });
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas, { width, height });
    this.context = this.canvas.getContext("2d");
    this.draw();
  }

  get whole() { return [0, 0, this.height, this.width]; }

  draw([top, left, bottom, right] = this.whole) {
    const width = right - left;
    if (width <= 0) return;
    for (let first = top; first < bottom; first += STRIP) {
      const rows = Math.min(STRIP, bottom - first);
      const image = this.context.createImageData(width, rows);
      const pixels = new Uint32Array(image.data.buffer);
      for (let row = 0; row < rows; row++) {
        const begin = (first + row) * this.width + left;
        for (let column = 0; column < width; column++) {
          const label = this.labels[begin + column];
          // "Not sure" is dotted, so that no class can look like it.
          const isHole = label === NOT_SURE && ((first + row) >> 2 ^ (left + column) >> 2) & 1;
          pixels[row * width + column] = isHole ? 0 : this.table[label];
        }
      }
      this.context.putImageData(image, left, first);
    }
  }

  // Give the pixels of runs a label.
  paint(runs, label) {
    for (let index = 0; index < runs.length; index += 3) {
      const begin = runs[index] * this.width;
      this.labels.fill(label, begin + runs[index + 1], begin + runs[index + 2]);
    }
  }

  // Take over a part of a map.
  put([top, left, bottom, right], labels) {
    const width = right - left;
    for (let row = top; row < bottom; row++) {
      const begin = (row - top) * width;
      this.labels.set(labels.subarray(begin, begin + width), row * this.width + left);
    }
    this.draw([top, left, bottom, right]);
  }
}
