// An image through the model, window by window.

import { cutWindow, resize } from "./pixels.js";
import { imageAxes, planView } from "./views.js";

/**
 * Show an image to a model as its protocol says.
 *
 * `run(pixels, size)` gives the patch logits of a picture, {values, numClasses, grid}. Gives those of
 * all windows side by side, classes last, and the axes that lead from them to the image's pixels.
 */
export async function scoreImage(image, { protocol, fit, cell }, run, onProgress) {
  const plan = planView(image.size, protocol);
  let seen = resize(image, plan.resized, protocol.resize_dtype === "uint8");
  if (String(plan.view) !== String(plan.resized)) seen = resize(seen, plan.view, false);
  const numWindows = plan.rows.length * plan.columns.length;
  let logits = null, grid = null, done = 0;
  for (const [down, top] of plan.rows.entries()) {
    for (const [right, left] of plan.columns.entries()) {
      const found = await run(cutWindow(seen, top, left, plan.window), plan.window);
      ({ grid } = found);
      logits ??= emptyLogits(found, plan);
      place(found, logits, down * grid[0], right * grid[1]);
      if (numWindows > 1) onProgress(++done / numWindows);
    }
  }
  return { logits, axes: imageAxes(plan, grid, { protocol, fit, cell }) };
}

function emptyLogits({ numClasses, grid }, { rows, columns }) {
  const width = columns.length * grid[1];
  return { values: new Float32Array(rows.length * grid[0] * width * numClasses), columns: width, numClasses };
}

/** Put the logits of one window (classes first) beside those of the others. */
function place({ values, numClasses, grid: [rows, columns] }, logits, top, left) {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const to = ((top + row) * logits.columns + left + column) * numClasses;
      for (let label = 0; label < numClasses; label++) {
        logits.values[to + label] = values[(label * rows + row) * columns + column];
      }
    }
  }
}
