// The page: takes an image, shows what the model says of it.

import * as engine from "./engine.js";
import { saveMask, saveOverlay, savePolygons } from "./downloads.js";
import { classShares, resizeNearest } from "./labels.js";
import { keep } from "./opened.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const view = new View($("picture"));
const percent = (share) => (share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);

const described = engine.describe(); // an image may be given before this is there
let model = null;
let current = null; // {file, name, image, result, seconds}, one of `opened`
const opened = []; // images that are labelled, in their order
let work = null; // AbortController of what is under way
let point = null; // where the arrow keys are

function say(text) { $("status").textContent = text; }

/** Say what computes; a service says nothing. */
function note(text) {
  $("note").textContent = text ?? "";
  $("note").hidden = !text;
}

/** Fill the bar to a share, or let it run without one; what is done may change its name. */
function showProgress(share, text) {
  if (typeof share === "number") $("progress").value = share;
  else $("progress").removeAttribute("value");
  if (text) say(text);
}

function fail(error) {
  if (error.name === "AbortError") return;
  $("error").textContent = error.message;
  $("error").hidden = false;
  say("");
}

/** Do one thing at a time: what was under way is given up. */
async function exclusively(text, task) {
  work?.abort();
  const mine = (work = new AbortController());
  $("error").hidden = true;
  $("progress").hidden = false;
  showProgress(null, text);
  try {
    await task(mine.signal);
  } catch (error) {
    if (mine === work) fail(error);
  } finally {
    if (mine === work) $("progress").hidden = true;
  }
}

/** Label images one after the other; the first that is done is shown. One that fails stops no other. */
async function openImages(files) {
  await exclusively("", async (signal) => {
    let isFirst = true, failure = null;
    for (const [index, file] of files.entries()) {
      const which = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
      say(`Labelling ${file.name || "the image"}${which} …`);
      try {
        const entry = await labelled(file, signal);
        keep(opened, entry, current);
        if (isFirst) showImage(entry); else listOpened();
        isFirst = false;
      } catch (error) {
        if (signal.aborted || files.length === 1) throw error;
        failure ??= new Error(`${file.name}: ${error.message}`);
      }
    }
    if (!isFirst) tell(current);
    if (failure) throw failure;
  });
}

/** Read an image and label it. */
async function labelled(file, signal) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    if (!engine.picture) throw new Error("The browser cannot read this file as an image.");
    image = await engine.picture(file, signal); // such as a TIFF
  }
  signal.throwIfAborted();
  const start = performance.now();
  const result = await engine.segment(file, showProgress, signal);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  await described;
  signal.throwIfAborted();
  return { file, image, result, seconds, name: (file.name || "photo").replace(/\.[^.]*$/, "") };
}

async function openSample(name) {
  const response = await fetch(name);
  if (!response.ok) fail(new Error("The sample cannot be loaded."));
  else openImages([new File([await response.blob()], name, { type: "image/jpeg" })]);
}

function tell({ result, seconds }) {
  say(`${result.width} x ${result.height} pixels, ${seconds} s.`);
}

function colors() { return model[$("palette").value]; }

function showImage(entry) {
  current = entry;
  note(entry.result.note);
  document.body.classList.add("has-image");
  $("result").hidden = false;
  view.show(entry.image, entry.result, colors());
  point = null;
  zoom(1);
  setMode("overlay");
  fillLegend(entry.result.labels);
  listOpened();
}

/** Small pictures of all images that are labelled, to switch between them. */
function listOpened() {
  $("opened").hidden = opened.length < 2;
  $("opened").replaceChildren(...opened.map((entry) => {
    const { width, height } = entry.image;
    const canvas = Object.assign(document.createElement("canvas"), { height: 96, width: Math.max(24, Math.min(288, Math.round((96 * width) / height))) });
    canvas.getContext("2d").drawImage(entry.image, 0, 0, canvas.width, canvas.height);
    const button = Object.assign(document.createElement("button"), { type: "button", ariaLabel: `Show ${entry.name}`, title: entry.name });
    button.ariaCurrent = String(entry === current);
    button.append(canvas);
    button.addEventListener("click", () => { work?.abort(); showImage(entry); tell(entry); });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function recolor() {
  if (!current) return;
  view.hidden.clear();
  view.colors = colors();
  view.draw();
  fillLegend(current.result.labels);
}

/** Show the picture larger than fits; it scrolls then. */
function zoom(factor) {
  $("zoom").value = factor;
  const picture = $("picture");
  picture.style.width = "";
  $("pane").classList.toggle("zoomed-in", factor > 1);
  if (factor === 1) return;
  $("pane").classList.remove("zoomed-in");
  const fitting = picture.getBoundingClientRect().width;
  $("pane").classList.add("zoomed-in");
  picture.style.width = `${Math.round(fitting * factor)}px`;
}


function fillLegend(labels) {
  const shares = classShares(labels, model.classes.length);
  const order = [...shares.keys()].filter((index) => shares[index]).sort((a, b) => shares[b] - shares[a]);
  $("legend").replaceChildren(...order.map((index) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = `rgb(${colors()[index].join(" ")})`;
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: model.classes[index] });
    const share = Object.assign(document.createElement("span"), { className: "share", textContent: percent(shares[index]) });
    const label = document.createElement("label");
    label.append(box, swatch, name, share);
    box.addEventListener("change", () => {
      if (box.checked) view.hidden.delete(index); else view.hidden.add(index);
      view.draw();
    });
    const light = (label) => { view.highlight = label === null ? null : { label }; view.draw(); };
    label.addEventListener("pointerenter", () => light(index));
    label.addEventListener("pointerleave", () => light(null));
    box.addEventListener("focus", () => box.matches(":focus-visible") && light(index));
    box.addEventListener("blur", () => light(null));
    const item = document.createElement("li");
    item.append(label);
    return item;
  }));
  $("origin").replaceChildren(new Option("the patch", ""));
  if (model.layers.some((layer) => layer.part === "decoder")) {
    order.forEach((index) => $("origin").append(new Option(model.classes[index], index)));
  }
}

function setAll(isOn) {
  document.querySelectorAll("#legend input").forEach((box) => {
    if (box.checked !== isOn) box.click();
  });
}

function setMode(mode) {
  view.mode = mode;
  const hasClasses = mode === "overlay" || mode === "compare";
  document.querySelectorAll("#legend input, #all-on, #all-off").forEach((each) => { each.disabled = !hasClasses; });
  $("scale").hidden = mode !== "confidence";
  document.querySelector(`input[name=view][value=${mode}]`).checked = true;
  $("split-control").hidden = $("divider").hidden = mode !== "compare";
  $("opacity-control").hidden = false;
  $("attention-control").hidden = mode !== "attention";
  placeDivider();
  view.draw();
  if (mode === "confidence" && !view.confidence) showConfidence();
  if (mode === "attention" && !view.attention) showAttention();
}

function placeDivider() {
  $("divider").style.left = `calc(${100 * view.split}% - 1px)`;
}

async function showConfidence() {
  const { file } = current;
  await exclusively("Measuring confidence …", async (signal) => {
    const picture = await engine.confidence(file, signal);
    signal.throwIfAborted(); // else it would be shown over another image
    const canvas = new OffscreenCanvas(...[...view.size].reverse());
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    view.confidence = new Uint8Array(data.length / 4).map((_, at) => data[4 * at]);
    view.draw();
    const mean = view.confidence.reduce((sum, each) => sum + each, 0) / view.confidence.length;
    say(`Bright: sure. Dark: unsure. The mean confidence is ${Math.round(mean / 2.55)} %. Point at a pixel to see its confidence.`);
  });
}

async function showAttention(patch = view.attention?.patch ?? [0.5, 0.5]) {
  const { file } = current;
  const layer = model.layers[$("layer").value];
  const label = $("origin").value === "" || layer.part !== "decoder" ? null : Number($("origin").value);
  await exclusively("Looking …", async (signal) => {
    const [down, right] = patch;
    const answer = await engine.attention(file, { layer: $("layer").value, row: down, column: right, label }, signal);
    const head = $("head").value;
    $("head").replaceChildren(new Option("all heads", "all"), ...answer.heads.map((_, index) => new Option(`${index + 1}`, index)));
    $("head").value = [...$("head").options].some((option) => option.value === head) ? head : "all";
    // Patches may reach past the image, on its right and lower edge.
    const covered = ([height, width]) => [
      Math.max(height, Math.round(height * answer.covered[0])), Math.max(width, Math.round(width * answer.covered[1])),
    ];
    view.attention = { ...answer, covered, patch, marked: answer.patch };
    pickHead();
    say(label === null ? "The brighter a patch, the more it contributes to the marked patch." : "The brighter a patch, the more it contributes to the class.");
  });
}

function pickHead() {
  if (!view.attention) return;
  const { heads } = view.attention;
  const head = $("head").value;
  view.attention.values = head === "all"
    ? heads[0].map((_, at) => heads.reduce((sum, each) => sum + each[at], 0) / heads.length)
    : heads[Number(head)];
  view.draw();
}

/** Name the class under a point, and light its region. */
function pointAt(pixel, isSpoken) {
  const label = pixel && view.labels[pixel.at];
  const isClass = pixel && label < model.classes.length && !view.hidden.has(label);
  const isNamed = isClass && (view.mode === "overlay" || view.mode === "compare" || (view.mode === "confidence" && view.confidence));
  const text = !isNamed ? "" : view.mode === "confidence" ? `${model.classes[label]}, ${Math.round(view.confidence[pixel.at] / 2.55)} % sure` : model.classes[label];
  $("hint").hidden = !isNamed;
  const highlight = isNamed && view.mode !== "confidence" ? { region: view.regions[pixel.at] } : null;
  if (highlight?.region !== view.highlight?.region) {
    view.highlight = highlight;
    view.draw();
  }
  if (!isNamed) return;
  $("hint").textContent = text;
  const [height, width] = view.size;
  const isRight = pixel.column > 0.6 * width;
  $("hint").style.left = isRight ? "" : `calc(${(100 * pixel.column) / width}% + 14px)`;
  $("hint").style.right = isRight ? `calc(${100 - (100 * pixel.column) / width}% + 14px)` : "";
  $("hint").style.top = `min(${(100 * pixel.row) / height}%, calc(100% - 1.8rem))`;
  if (isSpoken) say(`${text}, at ${Math.round((100 * pixel.column) / width)} % across, ${Math.round((100 * pixel.row) / height)} % down.`);
}

function movePoint(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const [height, width] = view.size;
  point ??= [Math.floor(height / 2), Math.floor(width / 2)];
  if (event.key in steps) {
    const stride = Math.max(1, Math.round(Math.max(height, width) / 50));
    const [down, right] = steps[event.key];
    point = [
      Math.min(height - 1, Math.max(0, point[0] + down * stride)),
      Math.min(width - 1, Math.max(0, point[1] + right * stride)),
    ];
    pointAt({ row: point[0], column: point[1], at: point[0] * width + point[1] }, true);
  } else if ((event.key === "Enter" || event.key === " ") && view.mode === "attention") {
    showAttention([point[0] / height, point[1] / width]);
  } else return;
  event.preventDefault();
}

async function tracePolygons() {
  const { result, name } = current;
  await exclusively("Tracing outlines …", async () => {
    savePolygons({ ...result, classes: await engine.polygons(result) }, name);
    say("The outlines are saved.");
  });
}

async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    await $("video").play();
    $("viewfinder").hidden = false;
    $("drop").hidden = true;
  } catch {
    fail(new Error("The camera cannot be used: it is missing, in use, or not allowed."));
  }
}

function closeCamera() {
  $("video").srcObject?.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("drop").hidden = false;
}

async function shoot() {
  const canvas = new OffscreenCanvas($("video").videoWidth, $("video").videoHeight);
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  closeCamera();
  openImages([new File([await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 })], "camera.jpg")]);
}

function listen() {
  const open = (files) => { const all = [...files]; if (all.length) openImages(all); };
  $("file").addEventListener("change", (event) => { open(event.target.files); event.target.value = ""; });
  addEventListener("paste", (event) => open(event.clipboardData.files));
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  addEventListener("dragleave", () => $("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    open(event.dataTransfer.files);
  });
  document.querySelectorAll("[data-sample]").forEach((button) => button.addEventListener("click", () => openSample(button.dataset.sample)));
  $("palette").addEventListener("change", recolor);
  $("zoom").addEventListener("input", (event) => zoom(Number(event.target.value)));
  $("camera").addEventListener("click", openCamera);
  $("no-camera").addEventListener("click", closeCamera);
  $("shoot").addEventListener("click", shoot);
  document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", () => setMode(radio.value)));
  $("opacity").addEventListener("input", (event) => { view.opacity = event.target.value / 100; view.draw(); });
  $("split").addEventListener("input", (event) => { view.split = event.target.value / 100; placeDivider(); view.draw(); });
  $("all-on").addEventListener("click", () => setAll(true));
  $("all-off").addEventListener("click", () => setAll(false));
  $("layer").addEventListener("change", () => showAttention());
  $("origin").addEventListener("change", () => showAttention());
  $("head").addEventListener("change", pickHead);
  $("save-mask").addEventListener("click", () => saveMask(current.result, colors(), current.name).catch(fail));
  $("save-overlay").addEventListener("click", () => saveOverlay($("picture"), current.name));
  $("save-polygons").addEventListener("click", tracePolygons);
  $("picture").addEventListener("pointermove", (event) => pointAt(view.pixelAt(event.clientX, event.clientY)));
  $("picture").addEventListener("pointerleave", () => pointAt(null));
  $("picture").addEventListener("keydown", movePoint);
  $("picture").addEventListener("blur", () => pointAt(null));
  $("picture").addEventListener("click", (event) => {
    const pixel = view.pixelAt(event.clientX, event.clientY);
    if (pixel && view.mode === "attention") showAttention([pixel.row / view.size[0], pixel.column / view.size[1]]);
  });
}

async function begin() {
  listen();
  try {
    model = await described;
  } catch (error) {
    fail(error);
    return;
  }
  const from = model.threshold ? ` A pixel is labelled from a probability of ${model.threshold} on.` : "";
  $("model").textContent = `Model ${model.name}: ${model.classes.join(", ")}.${from}`;
  $("version").textContent = `${model.version ?? ""} · model ${model.name} · ${new Date().toISOString().slice(0, 10)}`;
  $("provenance").textContent = `Where the model comes from: ${model.provenance.replaceAll("`", "")}`;
  $("provenance").hidden = !model.provenance;
  for (const [text, href] of engine.links) $("links").append(" ", Object.assign(document.createElement("a"), { textContent: text, href }));
  $("license").textContent = `Licence of the model: ${model.license}`;
  $("license").hidden = !model.license;
  $("layer").replaceChildren(...model.layers.map((layer, index) => new Option(layer.name, index)));
  $("layer").value = model.layers.findLastIndex((layer) => layer.part === "encoder");
  const canAttend = Boolean(engine.attention) && model.layers.length > 0;
  document.querySelector("input[value=attention]").closest("label").hidden = !canAttend;
  if (engine.prepare) await prepare();
}

/** Load what the browser computes with, before the first image is there. */
async function prepare() {
  await exclusively("Loading the model …", async (signal) => {
    note(await engine.prepare(showProgress));
    if (!signal.aborted) say("Ready for an image.");
  });
}

begin();
