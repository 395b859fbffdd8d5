// Files made of a result: a mask, an overlay, polygons.

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The class index of each pixel, as grey values of a PNG at the image's own size. */
export async function saveMask({ height, width, labels }, name) {
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  labels.forEach((label, at) => image.data.set([label, label, label, 255], 4 * at));
  canvas.getContext("2d").putImageData(image, 0, 0);
  save(await canvas.convertToBlob({ type: "image/png" }), `${name}_label.png`);
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
