// Beside the page, so that it stays usable: everything that takes long, one task after the other.

import { thinned } from "./axes.js";
import { confidencePixels, labelPixels } from "./maps.js";
import { tracePolygons } from "./outlines.js";
import { readImage } from "./pixels.js";
import { Runtime } from "./runtime.js";
import { scoreImage } from "./windows.js";

const MAX_SHOWN = 1.5e6; // pixels of a confidence map; the page shows no more

let model = null; // what model.json says
let runtime = null;
let last = null; // {id, logits, axes} of the image labelled last
let queue = Promise.resolve();
const givenUp = new Set(); // numbers of tasks that nobody waits for any more

const tasks = {
  async load(_task, progress) {
    await runtime.open(progress);
    return runtime.note;
  },

  async segment(task, progress) {
    const { logits, axes: [down, across] } = await scores(task, progress);
    const labels = labelPixels(logits, down, across);
    return { height: down.length, width: across.length, labels, note: runtime.note };
  },

  async confidence(task, progress) {
    const { logits, axes } = await scores(task, progress);
    const scale = Math.min(1, Math.sqrt(MAX_SHOWN / (axes[0].length * axes[1].length)));
    const [down, across] = axes.map((axis) => thinned(axis, Math.max(1, Math.round(axis.length * scale))));
    const image = new ImageData(across.length, down.length);
    confidencePixels(logits, down, across).forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
    return createImageBitmap(image);
  },

  polygons: ({ result }) => tracePolygons(result, model.classes),
};

/** Patch logits of an image, and the axes that lead from them to its pixels; kept for the next task. */
async function scores({ number, id, image }, progress) {
  if (last?.id === id) return last;
  await runtime.open(progress);
  progress(null, "Labelling …");
  const run = (pixels, size) => {
    if (givenUp.has(number)) throw new Error("given up");
    return runtime.run(pixels, size, progress);
  };
  last = { id, ...(await scoreImage(await readImage(image), model, run, progress)) };
  return last;
}

onmessage = ({ data }) => {
  if (data.model) [model, runtime] = [data.model, new Runtime(data.model)];
  else if (data.giveUp) givenUp.add(data.giveUp);
  else queue = queue.then(() => answer(data));
};

async function answer(task) {
  const { number } = task;
  const progress = (share, text) => postMessage({ number, progress: [share, text] });
  try {
    if (!givenUp.has(number)) postMessage({ number, result: await tasks[task.task](task, progress) });
  } catch (error) {
    postMessage({ number, error: error.message || String(error) });
  }
  givenUp.delete(number);
}
