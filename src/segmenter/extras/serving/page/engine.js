// The model, asked over HTTP. The page that computes alone has another file of this name.

import { labelsFromMasks } from "./labels.js";

const NONE = 65535; // a label that is not a class

/** Ask the service; a refusal becomes an error with the sentence it was given. */
async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached.");
  }
  if (response.status === 401) {
    const given = prompt("This service asks for a token.");
    if (given) {
      sessionStorage.setItem("token", given);
      return ask(path, options);
    }
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText }));
    throw new Error(problem.detail);
  }
  return response;
}

const post = (path, image, accept, signal) => ask(path, {
  method: "POST", body: image, signal,
  headers: { accept, "content-type": "application/octet-stream" },
});

/** What the model is: its name, the names and colours of its classes, its layers. */
export async function describe() {
  return (await ask("model.json")).json();
}

/** Labels of an image: {height, width, labels}. */
export async function segment(image, _onProgress, signal) {
  const answer = await (await post("segment", image, "application/json", signal)).json();
  const { height, width, classes } = answer;
  return { height, width, labels: labelsFromMasks(height, width, classes, NONE), classes };
}

/** The picture of an image that the browser cannot read. */
export async function picture(image, signal) {
  return createImageBitmap(await (await post("picture", image, "image/jpeg", signal)).blob());
}

/** How sure the model is at each pixel, 0 to 255: an image. */
export async function confidence(image, signal) {
  return createImageBitmap(await (await post("confidence", image, "image/png", signal)).blob());
}

/** Where one layer looks, from a patch or from a class: {grid, covered, heads}. */
export async function attention(image, { layer, row, column, label }, signal) {
  const query = new URLSearchParams({ layer });
  if (label === null) { query.set("row", row); query.set("column", column); }
  else query.set("class", label);
  return (await post(`attention?${query}`, image, "application/json", signal)).json();
}

/** Outlines of the regions of each class, the largest class first; they came with the labels. */
export async function polygons({ classes }) { return classes; }

/** What the footer links to: text and address. */
export const links = [["The interface for programs", "openapi.json"]];
