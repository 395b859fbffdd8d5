// The model, computed in the browser. The page of a service has another file of this name.

const worker = new Worker(new URL(`worker.js${location.search}`, import.meta.url), { type: "module" });
const waiting = new Map(); // number of a question -> {resolve, reject, onProgress}
const ids = new WeakMap(); // image -> its number
let count = 0;

worker.addEventListener("message", ({ data: { number, result, error, progress } }) => {
  const asked = waiting.get(number);
  if (progress) { asked?.onProgress(...progress); return; }
  waiting.delete(number);
  if (error === undefined) asked?.resolve(result);
  else asked?.reject(new Error(error));
});

worker.addEventListener("error", () => {
  for (const { reject } of waiting.values()) reject(new Error("The part of the page that computes has stopped; load the page again."));
  waiting.clear();
});

/** Have the worker do something; `signal` gives it up. */
function ask(question, onProgress = () => {}, signal) {
  const number = ++count;
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject, onProgress });
    worker.postMessage({ number, ...question });
    signal?.addEventListener("abort", () => {
      if (!waiting.delete(number)) return;
      worker.postMessage({ giveUp: number });
      reject(signal.reason);
    });
  });
}

function idOf(image) {
  if (!ids.has(image)) ids.set(image, ++count);
  return ids.get(image);
}

/** What the model is: its name, the names and colours of its classes. */
export async function describe() {
  if (!isSecureContext) throw new Error("Browsers compute only for pages that come by HTTPS, or from localhost.");
  const response = await fetch("model.json", { cache: "no-cache" });
  if (!response.ok) throw new Error(`model.json cannot be loaded: the server says ${response.status}.`);
  const model = await response.json();
  worker.postMessage({ model });
  return model;
}

/** Load the model; gives a sentence that says what computes. */
export function prepare(onProgress) {
  return ask({ task: "load" }, onProgress);
}

/** Labels of an image, and what computed them: {height, width, labels, note}. */
export function segment(image, onProgress, signal) {
  return ask({ task: "segment", id: idOf(image), image }, onProgress, signal);
}

/** How sure the model is at each pixel, 0 to 255: an image. */
export function confidence(image, signal) {
  return ask({ task: "confidence", id: idOf(image), image }, undefined, signal);
}

/** Outlines of the regions of each class, the largest class first. */
export function polygons(result) {
  return ask({ task: "polygons", result });
}

/** What the footer links to: text and address. */
export const links = [["Licences", "LICENSES.txt"]];
