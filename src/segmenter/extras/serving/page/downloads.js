// Files made of a result: a mask, an overlay, polygons.

import { labelMapPng } from "./png.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The class index of each pixel, in the colours of the classes, at the size of the image. */
export async function saveMask(result, colors, name) {
  save(await labelMapPng(result, colors), `${name}_label.png`);
}

/** What the canvas shows. */
export function saveOverlay(canvas, name) {
  canvas.toBlob((blob) => save(blob, `${name}_overlay.png`), "image/png");
}

/** GeoJSON-like rings for each class, in pixels. */
export function savePolygons({ height, width, classes }, name) {
  const content = {
    height, width,
    classes: classes.map(({ index, name: label, share, polygons }) => ({ index, name: label, share, polygons })),
  };
  save(new Blob([JSON.stringify(content)], { type: "application/json" }), `${name}_polygons.json`);
}
