// Pixels that a stroke touches, and their runs: flat lists of row, first column, column after the last.

export class Touched {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.mask = new Uint8Array(width * height);
    this.clear();
  }

  // Forget all pixels; only rows that were touched are wiped.
  clear() {
    if (this.bottom > this.top) this.mask.fill(0, this.top * this.width, this.bottom * this.width);
    [this.top, this.left, this.bottom, this.right] = [this.height, this.width, 0, 0];
  }

  get isEmpty() { return this.bottom <= this.top; }

  // Touch the pixels `first` to before `end` of a row, as far as they lie in the image.
  row(row, first, end) {
    first = Math.max(0, first);
    end = Math.min(this.width, end);
    if (row < 0 || row >= this.height || first >= end) return;
    this.mask.fill(1, row * this.width + first, row * this.width + end);
    this.top = Math.min(this.top, row);
    this.bottom = Math.max(this.bottom, row + 1);
    this.left = Math.min(this.left, first);
    this.right = Math.max(this.right, end);
  }

  // Touch all pixels whose centre is at most `radius` from the line between two points.
  capsule([x0, y0], [x1, y1], radius) {
    const reach = Math.max(radius, 0.5);
    const last = Math.min(this.height - 1, Math.floor(Math.max(y0, y1) + reach));
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = Math.hypot(dx, dy);
    for (let row = Math.max(0, Math.floor(Math.min(y0, y1) - reach)); row <= last; row++) {
      const y = row + 0.5;
      let [first, end] = [Infinity, -Infinity];
      const widen = (from, to) => { first = Math.min(first, from); end = Math.max(end, to); };
      for (const [cx, cy] of [[x0, y0], [x1, y1]]) {
        const half = reach * reach - (y - cy) ** 2;
        if (half >= 0) widen(cx - Math.sqrt(half), cx + Math.sqrt(half));
      }
      if (length > 0) {
        const [nx, ny] = [-dy / length * reach, dx / length * reach];
        const corners = [[x0 + nx, y0 + ny], [x1 + nx, y1 + ny], [x1 - nx, y1 - ny], [x0 - nx, y0 - ny]];
        for (const x of crossings(corners, y)) widen(x, x);
      }
      // The pixel under the pointer counts also where the brush is thinner than a pixel.
      if (first === Infinity && row === Math.floor(y1)) widen(x1 - 0.5, x1 + 0.5);
      if (first <= end) this.row(row, Math.ceil(first - 0.5), Math.floor(end - 0.5) + 1);
    }
  }

  // Touch the pixels whose centre lies inside a polygon (even-odd rule).
  polygon(points) {
    const ys = points.map(([, y]) => y);
    const last = Math.min(this.height - 1, Math.floor(Math.max(...ys)));
    for (let row = Math.max(0, Math.floor(Math.min(...ys))); row <= last; row++) {
      const xs = crossings(points, row + 0.5).sort((a, b) => a - b);
      for (let index = 0; index + 1 < xs.length; index += 2) {
        this.row(row, Math.ceil(xs[index] - 0.5), Math.ceil(xs[index + 1] - 0.5));
      }
    }
  }

  // Touch the connected region of one label around a pixel.
  flood(labels, column, row) {
    const { width, height } = this;
    const wanted = labels[row * width + column];
    const isOpen = (x, y) => labels[y * width + x] === wanted && !this.mask[y * width + x];
    const stack = [[column, row]];
    while (stack.length) {
      const [x, y] = stack.pop();
      if (!isOpen(x, y)) continue;
      let [first, end] = [x, x + 1];
      while (first > 0 && isOpen(first - 1, y)) first--;
      while (end < width && isOpen(end, y)) end++;
      this.row(y, first, end);
      for (const next of [y - 1, y + 1]) {
        if (next < 0 || next >= height) continue;
        for (let at = first; at < end; at++) {
          if (isOpen(at, next) && (at === first || !isOpen(at - 1, next))) stack.push([at, next]);
        }
      }
    }
  }

  runs() {
    const runs = [];
    for (let row = this.top; row < this.bottom; row++) {
      const begin = row * this.width;
      let column = this.left;
      while (column < this.right) {
        const first = this.mask.indexOf(1, begin + column) - begin;
        if (first < column || first >= this.right) break;
        let end = first + 1;
        while (end < this.right && this.mask[begin + end]) end++;
        runs.push(row, first, end);
        column = end;
      }
    }
    return runs;
  }
}

// Where the edges of a polygon cross a horizontal line.
function crossings(points, y) {
  const found = [];
  for (let index = 0; index < points.length; index++) {
    const [[x0, y0], [x1, y1]] = [points[index], points[(index + 1) % points.length]];
    if ((y0 <= y) !== (y1 <= y)) found.push(x0 + (y - y0) / (y1 - y0) * (x1 - x0));
  }
  return found;
}

// The smallest box around runs: top, left, and the row and column after the last.
export function boxOf(runs) {
  let [top, left, bottom, right] = [Infinity, Infinity, 0, 0];
  for (let index = 0; index < runs.length; index += 3) {
    top = Math.min(top, runs[index]);
    bottom = Math.max(bottom, runs[index] + 1);
    left = Math.min(left, runs[index + 1]);
    right = Math.max(right, runs[index + 2]);
  }
  return [top, left, bottom, right];
}
