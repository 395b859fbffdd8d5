// Images as numbers: decoded, resized, and cut into what the model takes.

import { resizeAxis } from "./axes.js";

const MAX_PIXELS = 50e6; // what a canvas and a phone can hold

/** Decode an image upright, its colours as they are stored: {size, channels, values}. */
export async function readImage(file) {
  const image = await createImageBitmap(file, {
    imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
  });
  const { height, width } = image;
  if (height * width > MAX_PIXELS) {
    throw new Error(`The image has ${Math.ceil((height * width) / 1e6)} million pixels; up to ${MAX_PIXELS / 1e6} million are taken.`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  image.close();
  return { size: [height, width], channels: 4, values: context.getImageData(0, 0, width, height).data };
}

/**
 * Resize bilinearly, without smoothing, to three channels.
 *
 * `asBytes`: to whole numbers, by OpenCV's arithmetic for bytes. Its shares have 11 bits and its sums
 * are cut off on the way, so a tenth of its pixels are not what rounding at the end would give.
 */
export function resize({ size, channels, values }, newSize, asBytes) {
  const axes = [0, 1].map((side) => resizeAxis(size[side], newSize[side]));
  const [down, across] = asBytes ? axes.map(inBits) : axes;
  const resized = new Float32Array(newSize[0] * newSize[1] * 3);
  let at = 0;
  for (const rows of down) {
    for (const columns of across) {
      for (let channel = 0; channel < 3; channel++, at++) {
        let sum = 0;
        for (const [row, rowShare] of rows) {
          let mixed = 0;
          for (const [column, share] of columns) {
            mixed += share * values[(row * size[1] + column) * channels + channel];
          }
          sum += asBytes ? (rowShare * (mixed >> 4)) >> 16 : rowShare * mixed;
        }
        resized[at] = asBytes ? (sum + 2) >> 2 : sum;
      }
    }
  }
  return { size: newSize, channels: 3, values: resized };
}

const inBits = (axis) => axis.map((pairs) => pairs.map(([source, share]) => [source, Math.round(2048 * share)]));

/** A window of a picture of three channels, channel after channel. */
export function cutWindow({ size, values }, top, left, [height, width]) {
  const window = new Float32Array(3 * height * width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = 3 * ((top + row) * size[1] + left + column);
      for (let channel = 0; channel < 3; channel++) {
        window[(channel * height + row) * width + column] = values[from + channel];
      }
    }
  }
  return window;
}
