// The model in ONNX Runtime: fetched, checked, opened, and tried on one small picture.

const TOLERANCE = 0.01; // of a logit; labels may differ only where two classes are twice as near
const AGREEMENT = 0.99; // of patches

/** Fetch a file whole and refuse it if it is not the one that was exported. */
async function fetchChecked(name, { bytes, sha256 }, onBytes) {
  // The hash in the address keeps a cache from giving the file of an earlier export.
  const response = await fetch(addressOf(name, sha256));
  if (!response.ok) throw new Error(`${name} cannot be loaded: the server says ${response.status}.`);
  const wrong = new Error(`${name} is damaged or from another export; upload the folder again.`);
  const content = new Uint8Array(bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > bytes) throw wrong;
    content.set(part.value, at);
    at += part.value.length;
    onBytes(part.value.length);
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (at !== bytes || found !== sha256) throw wrong;
  return content;
}

const addressOf = (name, sha256) => new URL(`${name}?${sha256.slice(0, 16)}`, import.meta.url).href;

/** What to compute with, the best first: WebGPU where a real GPU is behind it. */
async function chooseBackends() {
  const asked = new URLSearchParams(location.search).get("backend");
  if (asked) return [asked === "webgpu" ? "webgpu" : "wasm"];
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter && !adapter.info.isFallbackAdapter ? ["webgpu", "wasm"] : ["wasm"];
  } catch {
    return ["wasm"];
  }
}

/** How many threads the browser lets WebAssembly have, and in words why it is no more. */
function countThreads() {
  const wanted = Math.min(navigator.hardwareConcurrency, 8);
  if (wanted === 1) return [1, "on its only thread"];
  if (crossOriginIsolated) return [wanted, `on ${wanted} threads`];
  return [1, "on one thread: for more, the server must send the headers COOP and COEP"];
}

/** The model, opened where it runs; where the GPU fails, the CPU takes over. */
export class Runtime {
  #model;
  #backends = null;
  #opened = null; // a promise of what scores patches
  #failure = "";

  constructor(model) { this.#model = model; }

  /** A sentence that says what computes. */
  get note() {
    const unit = this.#backends[0] === "webgpu" ? "GPU (WebGPU)" : `CPU, ${countThreads()[1]}`;
    return `Images stay on this device and are labelled by its ${unit}.${this.#failure}`;
  }

  open(onProgress) {
    return this.#persist(() => {}, onProgress);
  }

  /** Patch logits of a picture of `size` (height, width): {values, numClasses, grid}. */
  run(pixels, size, onProgress) {
    return this.#persist((score) => score(pixels, size), onProgress);
  }

  async #persist(task, onProgress) {
    this.#backends ??= await chooseBackends();
    for (;;) {
      try {
        this.#opened ??= openSession(this.#model, this.#backends[0], onProgress);
        return await task(await this.#opened);
      } catch (error) {
        if (this.#backends.length === 1) throw error;
        this.#backends.shift();
        this.#opened = null;
        this.#failure = ` Its GPU failed: ${error.message}`;
      }
    }
  }
}

/** Load the model and what runs it; gives a function that scores the patches of a picture. */
async function openSession({ files, check }, backend, onProgress) {
  const [script, program, graph] = [`onnxruntime-${backend}.js`, `onnxruntime-${backend}.wasm`, "model.onnx"];
  const names = [script, program, graph];
  const total = names.reduce((sum, name) => sum + files[name].bytes, 0);
  let loaded = 0;
  const onBytes = (count) => onProgress((loaded += count) / total, `Loading the model, ${Math.round(total / 1e6)} MB …`);
  const contents = await Promise.all(names.map((name) => fetchChecked(name, files[name], onBytes)));
  onProgress(null, "Preparing the model …");
  const ort = await import(addressOf(script, files[script].sha256));
  ort.env.wasm.wasmBinary = contents[1];
  [ort.env.wasm.numThreads] = countThreads();
  const session = await ort.InferenceSession.create(contents[2], { executionProviders: [backend], logSeverityLevel: 3 });
  let failure = null;
  if (backend === "webgpu") {
    // Else a GPU whose memory is short gives zeros, and no error.
    const device = await ort.env.webgpu.device;
    device.addEventListener("uncapturederror", ({ error }) => { failure = error; });
  }
  const score = async (pixels, [height, width]) => {
    const { logits } = await session.run({ pixels: new ort.Tensor("float32", pixels, [1, 3, height, width]) });
    if (failure) throw failure;
    const [, numClasses, rows, columns] = logits.dims;
    return { values: logits.data, numClasses, grid: [rows, columns] };
  };
  compare(await score(Float32Array.from(bytesOf(check.pixels)), check.size), check);
  return score;
}

/** Refuse a browser in which the model says something else of a small picture than in Python. */
function compare({ values, numClasses, grid }, { logits }) {
  const expected = new Float32Array(bytesOf(logits).buffer);
  const numPatches = grid[0] * grid[1];
  let agreeing = 0;
  for (let patch = 0; patch < numPatches; patch++) {
    let given = 0, best = -Infinity;
    for (let label = 0; label < numClasses; label++) {
      const at = label * numPatches + patch;
      if (values[at] > values[given * numPatches + patch]) given = label;
      best = Math.max(best, expected[at]);
    }
    if (expected[given * numPatches + patch] >= best - 2 * TOLERANCE) agreeing++;
  }
  if (values.length !== expected.length || !(agreeing >= AGREEMENT * numPatches)) {
    throw new Error("In this browser the model gives other labels than where it was exported.");
  }
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
