// How patch logits make up a picture, along one axis: what `inference/interpolation.py` says in Python.
//
// An axis is a list with, for each target, the [source, share] pairs whose weighted mean it is; the
// sources rise and the shares add up to 1.

/** Bilinear resizing of `old` numbers to `length`: centres on centres, no smoothing. */
export function resizeAxis(old, length) {
  return Array.from({ length }, (_, target) => {
    const place = Math.max((target + 0.5) * (old / length) - 0.5, 0);
    const low = Math.min(Math.floor(place), old - 1);
    return merged([[low, 1 - (place - low)], [Math.min(low + 1, old - 1), place - low]]);
  });
}

/** An axis, and another one on its result. */
export function thenAxis(first, after) {
  return after.map((pairs) => merged(pairs.flatMap(
    ([middle, share]) => first[middle].map(([source, inner]) => [source, share * inner]))));
}

/**
 * Windows along an axis, merged by their weighted mean where they overlap.
 *
 * `upsampled` leads from the patches of a window to its pixels; sources count through all windows in
 * turn. `weights` has one number for each pixel of a window, `starts` the windows' first pixels.
 */
export function windowAxis(upsampled, numPatches, starts, weights) {
  const window = weights.length;
  return Array.from({ length: starts.at(-1) + window }, (_, pixel) => {
    const covering = [...starts.keys()].filter(
      (index) => starts[index] <= pixel && pixel < starts[index] + window);
    const total = covering.reduce((sum, index) => sum + weights[pixel - starts[index]], 0);
    return merged(covering.flatMap((index) => {
      const inside = pixel - starts[index];
      return upsampled[inside].map(([source, share]) =>
        [index * numPatches + source, (weights[inside] / total) * share]);
    }));
  });
}

/** The targets of an axis that lie nearest to those of one with fewer, evenly spread. */
export function thinned(axis, length) {
  return Array.from({ length }, (_, target) => axis[Math.floor(((target + 0.5) * axis.length) / length)]);
}

/** Add up the shares of equal sources, and drop sources without a share. */
function merged(pairs) {
  const shares = new Map();
  for (const [source, share] of pairs) {
    if (share > 0) shares.set(source, (shares.get(source) ?? 0) + share);
  }
  return [...shares].sort(([one], [other]) => one - other);
}
