// What a protocol shows the model of an image: `inference/resizing.py` and `windows.py` for one view.

import { resizeAxis, thenAxis, windowAxis } from "./axes.js";

const halfUp = (value) => Math.floor(value + 0.5);

/** Python's `round`: of two that are equally near, the even one. */
function halfEven(value) {
  const low = Math.floor(value), rest = value - low;
  return rest === 0.5 ? low + (low % 2) : halfUp(value);
}

/** Height and width of an image after the protocol's resize. */
function resizedSize(size, protocol) {
  const { short_side: shortSide, max_ratio: maxRatio } = protocol;
  const factor = shortSide === null ? 1
    : Math.min(shortSide / Math.min(...size), (maxRatio * shortSide) / Math.max(...size));
  const round = protocol.rounding === "half-even" ? halfEven : halfUp;
  return size.map((side) => Math.max(1, round(side * factor)));
}

/** Where the protocol enlarges small images: the short side at least that of the window. */
function largeEnough(size, { small_image: rule, window }) {
  const [height, width] = size;
  if (rule === "as-is" || window === null || Math.min(...size) >= window) return size;
  const longSide = Math.floor((Math.max(...size) / Math.min(...size)) * window);
  return height < width ? [window, longSide] : [longSide, window];
}

/** First pixel of each window along a side; the last one is moved back inside. */
function windowStarts(length, window, stride) {
  if (length <= window) return [0];
  const starts = [];
  for (let start = 0; start < length - window; start += stride) starts.push(start);
  return [...starts, length - window];
}

/** How much each pixel along a window's side counts where windows overlap. */
function windowWeights(length, blend) {
  return Array.from({ length }, (_, at) =>
    blend === "none" ? 1 : Math.min(at + 0.5, length - at - 0.5));
}

/**
 * How an image of `size` (height, width) is shown: resized to `resized` and then, without rounding,
 * to `view`, through windows of `window` (height, width) whose first pixels are `rows` x `columns`.
 */
export function planView(size, protocol) {
  const resized = resizedSize(size, protocol);
  const view = largeEnough(resized, protocol);
  const side = protocol.window ?? Math.max(...view);
  const stride = protocol.stride ?? side;
  const [rows, columns] = view.map((length) => windowStarts(length, side, stride));
  return { size, resized, view, rows, columns, window: view.map((length) => Math.min(side, length)) };
}

/**
 * How the patch logits of all windows, side by side, make up the image: an axis down, one across.
 *
 * `grid` holds the rows and columns of logits of one window, and a logit stands for `cell` pixels: those of
 * a patch, or of a part of it where the decoder scores parts.
 */
export function imageAxes(plan, grid, { protocol, fit, cell }) {
  const averagesResized = protocol.scales_of === "resized" && protocol.average === "logits";
  return [0, 1].map((side) => {
    const window = plan.window[side], numPatches = grid[side];
    const full = resizeAxis(numPatches, fit === "pad-crop" ? numPatches * cell : window);
    const starts = [plan.rows, plan.columns][side];
    const weights = windowWeights(window, protocol.blend);
    let axis = windowAxis(full.slice(0, window), numPatches, starts, weights);
    const lengths = averagesResized ? [plan.resized[side], plan.size[side]] : [plan.size[side]];
    for (const length of lengths) {
      if (axis.length !== length) axis = thenAxis(axis, resizeAxis(axis.length, length));
    }
    return axis;
  });
}
