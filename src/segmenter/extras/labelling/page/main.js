// The page: it joins the server, the view and the tools.

import { Layer, NOT_SURE, NOTHING, tableOf } from "./layers.js";
import { boxOf } from "./runs.js";
import { ask, askBlob, askLabels, Changes, Refusal, tell } from "./server.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const view = new View($("canvas"));
const tools = new Tools(view, { stroke, grow, accept: (runs) => accept({ runs }), restore });
const LEAST_LARGEST_BRUSH = 200;
const NEWS_MS = 1000;

let folder = { classes: [], images: [] };
let table = tableOf([]);
let image = null; // its name, changes, size and state
const sending = new Set(); // the changes of each image of which some are not saved yet
let isSizeChosen = false; // by the user; else it follows the size of the image
let proposal = { wanted: false, isBusy: false, number: 0 };

// Messages

function say(text, waits = false) {
  $("status").textContent = text;
  $("status").classList.toggle("waiting", waits);
}

function isWaiting() { return $("status").classList.contains("waiting"); }

function complain(error) {
  $("error").hidden = !error;
  if (error) $("error").textContent = error.message;
}

// Do something; what goes wrong is shown, and nothing of an earlier fault.
async function attempt(work) {
  try {
    complain(null);
    return await work();
  } catch (error) {
    complain(error);
    if (!isWaiting()) say("");
    return undefined;
  }
}

// Classes

function chooseLabel(label) {
  tools.label = label;
  for (const button of $("classes").querySelectorAll("button")) {
    button.setAttribute("aria-checked", String(Number(button.dataset.label) === label));
  }
}

function showClasses() {
  table = tableOf(folder.classes);
  const entries = folder.classes.map(({ name, color }, label) => ({ name, color, label, key: label + 1 }));
  entries.push({ name: "not sure (ignored)", color: [128, 128, 128], label: NOT_SURE, key: 0 });
  $("classes").replaceChildren(...entries.map(({ name, color, label, key }) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", onclick: () => chooseLabel(label) });
    button.setAttribute("role", "radio");
    button.dataset.label = label;
    const [swatch, text, hint] = ["span", "span", "kbd"].map((tag) => document.createElement(tag));
    swatch.className = "swatch";
    swatch.style.background = `rgb(${color.join(" ")})`;
    text.textContent = name;
    hint.textContent = key <= 9 ? key : "";
    button.append(swatch, text, hint);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  if (tools.label >= folder.classes.length && tools.label !== NOT_SURE) tools.label = NOTHING;
  chooseLabel(tools.label === NOTHING && folder.classes.length ? 0 : tools.label);
  if (view.labels) {
    view.labels.table = table;
    view.labels.draw();
  }
  enable();
}

async function addClass(event) {
  event.preventDefault();
  await attempt(async () => {
    const name = $("class-name").value.trim();
    try {
      ({ classes: folder.classes } = await tell("class", { count: folder.classes.length, name }));
    } catch (error) {
      if (error.code === "stale") await look();
      throw error;
    }
    if ($("class-name").value.trim() === name) $("class-name").value = "";
    showClasses();
    chooseLabel(folder.classes.length - 1);
    view.canvas.focus();
    propose();
  });
}

// Images

const STATES = { new: "", work: "in work", done: "done", given: "has a mask" };

function showImages() {
  $("images").replaceChildren(...folder.images.map(({ name, state }) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", onclick: () => open(name) });
    button.dataset.name = name;
    button.setAttribute("aria-current", String(name === image?.name));
    const [text, shown] = [document.createElement("span"), document.createElement("span")];
    text.textContent = name;
    shown.textContent = STATES[state];
    shown.className = `state ${state}`;
    button.append(text, shown);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  showProgress();
}

function showProgress() {
  const done = folder.images.filter(({ state }) => state === "done").length;
  $("progress").textContent = `${done} of ${folder.images.length} done`;
}

function buttonOf(name) { return $("images").querySelector(`[data-name="${CSS.escape(name)}"]`); }

function showState(name, state) {
  const entry = folder.images.find((each) => each.name === name);
  if (!entry || entry.state === state) return;
  entry.state = state;
  const shown = buttonOf(name).querySelector(".state");
  shown.textContent = STATES[state];
  shown.className = `state ${state}`;
  showProgress();
}

async function look() {
  folder = await ask("folder", { look: 1 });
  $("title").textContent = folder.name;
  document.title = `${folder.name}: label`;
  $("help").hidden = !folder.assistant;
  document.querySelector("[data-tool=grow]").hidden = !folder.grows;
  document.querySelector("[data-tool=lasso]").hidden = !folder.assistant;
  showClasses();
  showImages();
}

// Open an image; saving of the one before continues.
async function open(name, box = null) {
  await attempt(async () => {
    tools.isEnabled = false;
    tools.cancel();
    const opening = { name };
    image = opening;
    forgetProposal();
    say("opening…");
    $("foreign").hidden = true;
    await [...sending].find((each) => each.image === name)?.last; // else its version would soon be old
    const [facts, blob, labels] = await Promise.all([
      ask("open", { image: name }), askBlob("pixels", { image: name }), askLabels("labels", { image: name }),
    ]);
    const bitmap = await createImageBitmap(blob);
    if (image !== opening) { bitmap.close(); return; }
    const changes = new Changes(name, facts.version, showWaiting);
    Object.assign(image, facts, { changes });
    tools.reset(facts.width, facts.height);
    $("size").max = Math.max(LEAST_LARGEST_BRUSH, Math.max(facts.width, facts.height) / 4);
    if (!isSizeChosen) setSize(Math.max(facts.width, facts.height) / 30);
    view.show(bitmap);
    if (box) view.showBox(box);
    view.labels = new Layer(facts.width, facts.height, labels.labels, table);
    for (const button of $("images").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button.dataset.name === name));
    }
    buttonOf(name)?.scrollIntoView({ block: "nearest" });
    history.replaceState(null, "", `${location.pathname}#${encodeURIComponent(name)}`);
    $("place").textContent = `${name}, ${facts.width} × ${facts.height}`;
    showOutcome(facts);
    showForeign(facts.foreign_mask);
    say(folder.classes.length ? "" : "add a class to begin");
    view.redraw();
    propose();
  });
}

function showForeign(text) {
  $("foreign").hidden = !text;
  $("foreign-text").textContent = text ?? "";
  if (text) tools.isEnabled = false;
}

async function takeMask(keepLabels) {
  const { name } = image;
  if (!await change("take-mask", { keep_labels: keepLabels }) || image.name !== name) return;
  showForeign(null);
  enable();
}

function showOutcome({ can_undo: canUndo, can_redo: canRedo, state }) {
  $("undo").disabled = !canUndo;
  $("redo").disabled = !canRedo;
  $("done").textContent = state === "done" ? "Not done" : "Done, next";
  showState(image.name, state);
  image.state = state;
  enable();
}

function enable() {
  const isHere = Boolean(image?.changes) && !image.changes.isClosed;
  tools.isEnabled = isHere && $("foreign").hidden && tools.label !== NOTHING;
  for (const id of ["undo", "redo"]) if (!isHere) $(id).disabled = true;
  for (const id of ["done", "take-mask", "replace-mask"]) $(id).disabled = !isHere;
}

function following() {
  const names = folder.images;
  const at = names.findIndex(({ name }) => name === image?.name);
  const round = [...names.slice(at + 1), ...names.slice(0, Math.max(at, 0))];
  for (const wanted of ["new", "work", "given"]) {
    const found = round.find(({ state }) => state === wanted);
    if (found) return found.name;
  }
  return round[0]?.name;
}

function beside(step) {
  const at = folder.images.findIndex(({ name }) => name === image?.name);
  return folder.images[at + step]?.name;
}

// Changes

function numUnsaved() { return [...sending].reduce((sum, { count }) => sum + count, 0); }

function showWaiting() {
  const count = numUnsaved();
  say(count ? `the service does not answer; ${count} not saved yet` : "saved", count > 0);
}

// Send a change, and show what came of it. After a refusal the folder is shown as it is, but first
// what waits is sent: it may be taken.
async function change(path, fields, { redraws = true } = {}) {
  const { changes, name } = image;
  if (!changes || changes.isClosed) return null; // the page says why
  try {
    complain(null);
    const outcome = await send(changes, path, fields);
    if (image?.changes !== changes) {
      showState(name, outcome.state);
      if (isWaiting()) showWaiting();
      return outcome;
    }
    showOutcome(outcome);
    if (redraws && outcome.box) image.unseen = unite(image.unseen, outcome.box);
    await refresh();
    say(numUnsaved() ? "saving…" : "saved");
    if (outcome.mask_problem) complain(new Error(`the stroke is saved, but its mask or list is not: ${outcome.mask_problem}`));
    propose();
    return outcome;
  } catch (error) {
    const isShown = image?.changes === changes;
    complain(isShown ? error : new Error(`${name}: ${error.message}`));
    if (!isShown) say("");
    else if (changes.count) image.unseen = view.labels.whole;
    else await recover(changes);
    return null;
  }
}

async function send(changes, path, fields) {
  try {
    sending.add(changes);
    const saved = changes.push(path, fields);
    if (!isWaiting()) say("saving…");
    return await saved;
  } finally {
    if (!changes.count) sending.delete(changes);
  }
}

// Show what the folder holds after a refusal; while that cannot be read, nothing can be painted.
async function recover(changes) {
  changes.close();
  enable();
  say("");
  try {
    await reopen(() => image?.changes === changes);
    propose();
  } catch {
    if (image?.changes === changes) say("nothing can be painted until this image can be read again");
  }
}

// Read anew what the folder holds of this image; true if it is shown, false if nobody wants it any more.
async function reopen(isWanted = () => true) {
  const { name } = image;
  const [facts, labels] = await Promise.all([ask("open", { image: name }), askLabels("labels", { image: name })]);
  if (image?.name !== name || !isWanted()) return false;
  Object.assign(image, facts, { changes: new Changes(name, facts.version, showWaiting), unseen: null });
  view.labels.put(view.labels.whole, labels.labels);
  showOutcome(facts);
  showForeign(facts.foreign_mask);
  view.redraw();
  return true;
}

// Learn what another window did: classes it added, and its changes to this image.
async function learnNews() {
  const { changes, name } = image ?? {};
  const isQuiet = () => image?.changes === changes && !changes.count && !tools.isDrawing;
  if (document.hidden || !changes || !isQuiet()) return;
  const news = await ask("news", { image: name });
  if (!isQuiet()) return; // what is drawn here meanwhile is not taken away; the next news come soon
  if (news.classes !== folder.classes.length) await look();
  if (news.version <= changes.version && !changes.isClosed) {
    await refresh();
    return;
  }
  if (!await reopen(isQuiet)) return;
  say(changes.isClosed ? "" : "changed in another window");
  propose();
}

function awaitNews() {
  // A service that does not answer is reported by the changes that wait for it.
  learnNews().catch(() => {}).finally(() => setTimeout(awaitNews, NEWS_MS));
}

// Show what changed without being drawn here; what cannot be shown now is shown with the news.
async function refresh() {
  const { name, changes, unseen: box } = image;
  if (!box || changes.count) return;
  const found = await askLabels("labels", { image: name, box: box.join(",") }).catch(() => null);
  // What is painted meanwhile must not vanish: when it is saved, all that is unseen is asked for.
  const isNewest = found && image?.changes === changes && !changes.count && found.version === changes.version;
  if (!isNewest || tools.active?.isBrush) return;
  if (image.unseen === box) image.unseen = null;
  view.labels.put(box, found.labels);
  view.redraw();
}

function unite(first, second) {
  if (!first) return second;
  const [least, most] = [Math.min, Math.max];
  return first.map((side, index) => (index < 2 ? least : most)(side, second[index]));
}

// Wipe what was drawn and given up.
function restore() {
  if (!image?.changes) return;
  image.unseen = view.labels.whole;
  refresh();
}

function stroke(tool, label, runs) {
  change("stroke", { tool, value: label, runs }, { redraws: false });
}

function grow(row, column) {
  const { name } = image;
  const { label } = tools;
  const tolerance = Number($("tolerance").value) / 100;
  attempt(async () => {
    say("looking…");
    const { runs } = await tell("grow", { image: name, row, column, tolerance });
    if (image?.name !== name) return;
    view.labels.paint(runs, label);
    view.labels.draw(boxOf(runs));
    view.redraw();
    await change("stroke", { tool: "grow", value: label, runs });
  });
}

function accept(fields) {
  if (!proposal.number) {
    complain(new Error("the proposal is not ready yet"));
    return null;
  }
  return change("accept", { proposal: proposal.number, ...fields });
}

async function toggleDone() {
  const { name } = image;
  const isDone = image.state !== "done";
  const outcome = await change("mark", { done: isDone });
  if (outcome && isDone && image.name === name) {
    const next = following();
    if (next) await open(next);
  }
}

// Proposals

function forgetProposal() {
  proposal.number = 0;
  view.proposal = null;
  for (const id of ["accept", "accept-class"]) $(id).disabled = true;
}

// Ask for a proposal to what is labelled now; while one is made, at most one more wish waits.
async function propose() {
  if (!folder.assistant || !image?.changes) return;
  proposal.wanted = true;
  if (proposal.isBusy) return;
  proposal.isBusy = true;
  while (proposal.wanted) {
    proposal.wanted = false;
    await fetchProposal(image);
  }
  proposal.isBusy = false;
}

async function fetchProposal(asked) {
  const begin = performance.now();
  $("proposal-status").textContent = folder.assistant;
  try {
    const found = await askLabels("proposal", { image: asked.name });
    if (image !== asked) { proposal.wanted = true; return; }
    proposal.number = found.proposal;
    view.proposal = new Layer(found.width, found.height, found.labels, table);
    $("proposal-status").textContent = `${folder.assistant}, ${Math.round(performance.now() - begin)} ms`;
    for (const id of ["accept", "accept-class"]) $(id).disabled = false;
    prepareNext(asked);
  } catch (error) {
    if (image !== asked) { proposal.wanted = true; return; }
    if (error.code === "superseded") return;
    forgetProposal();
    $("proposal-status").textContent = error instanceof Refusal ? error.message : "";
  }
  view.redraw();
}

// Let the service read the image that comes next while this one is looked at.
function prepareNext(asked) {
  const next = following();
  if (asked.isNextPrepared || !next || next === asked.name) return;
  asked.isNextPrepared = true;
  ask("prepare", { image: next }).catch(() => {}); // opening it says what is wrong
}

// Controls

function chooseTool(tool) {
  tools.choose(tool);
  $("tolerance-control").hidden = tool !== "grow";
  $("size-control").hidden = tool !== "brush" && tool !== "eraser";
  for (const button of $("tools").querySelectorAll("button")) {
    button.setAttribute("aria-checked", String(button.dataset.tool === tool));
  }
}

function setSize(size) {
  tools.size = Math.min(Math.max(Math.round(size), 1), Math.round($("size").max));
  $("size").value = tools.size;
  $("size-shown").textContent = tools.size;
  if (view.cursor) view.cursor.radius = tools.size / 2;
  view.redraw();
}

function chooseSize(size) {
  isSizeChosen = true;
  setSize(size);
}

function step(kind) {
  if (kind === "undo" && tools.dropCorner()) return;
  if (image?.changes && !$(kind).disabled) change(kind, {});
}

const KEYS = {
  b: () => chooseTool("brush"), e: () => chooseTool("eraser"), p: () => chooseTool("polygon"),
  f: () => chooseTool("fill"), h: () => chooseTool("pan"),
  g: () => folder.grows && chooseTool("grow"), l: () => folder.assistant && chooseTool("lasso"),
  "[": () => chooseSize(tools.size / 1.25 - 0.5), "]": () => chooseSize(tools.size * 1.25 + 0.5),
  "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8),
  home: () => view.fit(), escape: () => tools.cancel(), enter: () => tools.closePolygon(),
  arrowleft: () => view.pan(60, 0), arrowright: () => view.pan(-60, 0),
  arrowup: () => view.pan(0, 60), arrowdown: () => view.pan(0, -60),
  a: () => accept({}), A: () => accept({ classes: [tools.label] }),
  t: () => $("show-proposal").click(), n: () => image?.changes && toggleDone(),
  pagedown: () => beside(1) && open(beside(1)), pageup: () => beside(-1) && open(beside(-1)),
};

function onKey(event) {
  const { target, key } = event;
  const isTyping = target instanceof HTMLInputElement && target.type !== "range" && target.type !== "checkbox";
  if (isTyping || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    const kind = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[key.toLowerCase()];
    if (kind) { event.preventDefault(); step(kind); }
    return;
  }
  const isButton = target instanceof HTMLButtonElement || target instanceof HTMLInputElement;
  if (isButton && ["enter", " ", "arrowleft", "arrowright", "arrowup", "arrowdown"].includes(key.toLowerCase())) return;
  if (key === " ") { tools.isSpaceHeld = true; event.preventDefault(); return; }
  if (/^[0-9]$/.test(key)) {
    const label = key === "0" ? NOT_SURE : Number(key) - 1;
    if (label === NOT_SURE || label < folder.classes.length) { chooseLabel(label); enable(); }
    return;
  }
  const action = event.shiftKey && KEYS[key] ? KEYS[key] : KEYS[key.toLowerCase()];
  if (action) { event.preventDefault(); action(); }
}

function wire() {
  for (const button of $("tools").querySelectorAll("button")) {
    button.onclick = () => chooseTool(button.dataset.tool);
  }
  $("size").oninput = (event) => chooseSize(Number(event.target.value));
  $("opacity").oninput = (event) => { view.opacity = event.target.value / 100; view.redraw(); };
  $("show-proposal").onchange = (event) => { view.showsProposal = event.target.checked; view.redraw(); };
  $("undo").onclick = () => step("undo");
  $("redo").onclick = () => step("redo");
  $("smaller").onclick = () => view.zoom(0.8);
  $("larger").onclick = () => view.zoom(1.25);
  $("whole").onclick = () => view.fit();
  $("accept").onclick = () => accept({});
  $("accept-class").onclick = () => accept({ classes: [tools.label] });
  $("done").onclick = toggleDone;
  $("skip").onclick = () => beside(1) && open(beside(1));
  $("take-mask").onclick = () => takeMask(true);
  $("replace-mask").onclick = () => takeMask(false);
  $("add-class").onsubmit = addClass;
  addEventListener("keydown", onKey);
  addEventListener("keyup", (event) => { if (event.key === " ") tools.isSpaceHeld = false; });
  addEventListener("blur", () => { tools.isSpaceHeld = false; }); // its release goes to another window
  addEventListener("hashchange", () => openNamed());
  // A page that is left with strokes that are not saved asks first.
  addEventListener("beforeunload", (event) => { if (numUnsaved()) event.preventDefault(); });
}

// The part of the image that the address asks for: left, top, width, height.
function boxAsked() {
  const box = new URLSearchParams(location.search).get("box")?.split(",").map(Number) ?? [];
  return box.length === 4 && box.every(Number.isFinite) && box[2] > 0 && box[3] > 0 ? box : null;
}

function openNamed() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* typed, with a % of its own */ }
  const isThere = folder.images.some((each) => each.name === name);
  const wanted = isThere ? name : following();
  if (wanted && wanted !== image?.name) open(wanted, isThere ? boxAsked() : null);
}

wire();
chooseTool("brush");
setSize(tools.size);
enable();
attempt(async () => {
  await look();
  openNamed();
  awaitNews();
});
