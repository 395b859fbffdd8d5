// From patch logits to what is shown of each pixel, a row of pixels at a time.
//
// Scores of all classes at all pixels are never held. Logits are {values, columns, numClasses}:
// classes last, columns of patches before them.

/**
 * Walk down a picture. `onRow(row, mixed)` gets the patch logits mixed for one row of pixels: for
 * each column of patches, all classes.
 */
function mixRows({ values, columns, numClasses }, down, onRow) {
  const mixed = new Float64Array(columns * numClasses);
  down.forEach((pairs, row) => {
    mixed.fill(0);
    for (const [source, share] of pairs) {
      const start = source * mixed.length;
      for (let at = 0; at < mixed.length; at++) mixed[at] += share * values[start + at];
    }
    onRow(row, mixed);
  });
}

/** Neighbours along an axis that are made of the same sources: [first, behind the last]. */
function runsOf(axis) {
  const isSame = (one, other) =>
    one.length === other.length && one.every(([source], index) => source === other[index][0]);
  const starts = [...axis.keys()].filter((at) => at === 0 || !isSame(axis[at - 1], axis[at]));
  return starts.map((start, index) => [start, starts[index + 1] ?? axis.length]);
}

/** The classes that can win somewhere between some columns: the best there beats no one else's worst. */
function contenders(mixed, sources, numClasses) {
  const highest = new Float64Array(numClasses).fill(-Infinity);
  let bar = -Infinity;
  for (let label = 0; label < numClasses; label++) {
    let lowest = Infinity;
    for (const [source] of sources) {
      const score = mixed[source * numClasses + label];
      highest[label] = Math.max(highest[label], score);
      lowest = Math.min(lowest, score);
    }
    bar = Math.max(bar, lowest);
  }
  return [...highest.keys()].filter((label) => highest[label] >= bar);
}

/** The class with the highest score at each pixel, the first of equals. */
export function labelPixels(logits, down, across) {
  const { numClasses } = logits;
  const labels = new Uint16Array(down.length * across.length);
  const runs = runsOf(across);
  mixRows(logits, down, (row, mixed) => {
    const start = row * across.length;
    for (const [first, end] of runs) {
      const classes = contenders(mixed, across[first], numClasses);
      if (classes.length === 1) {
        labels.fill(classes[0], start + first, start + end);
        continue;
      }
      for (let at = first; at < end; at++) {
        let best = -Infinity;
        for (const label of classes) {
          let score = 0;
          for (const [source, share] of across[at]) score += share * mixed[source * numClasses + label];
          if (score > best) { best = score; labels[start + at] = label; }
        }
      }
    }
  });
  return labels;
}

/** The probability of the best class at each pixel, 0 to 255. */
export function confidencePixels(logits, down, across) {
  const { numClasses } = logits;
  const confidence = new Uint8Array(down.length * across.length);
  const scores = new Float64Array(numClasses);
  mixRows(logits, down, (row, mixed) => {
    across.forEach((pairs, column) => {
      scores.fill(0);
      for (const [source, share] of pairs) {
        for (let label = 0; label < numClasses; label++) {
          scores[label] += share * mixed[source * numClasses + label];
        }
      }
      const best = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - best), 0);
      confidence[row * across.length + column] = Math.round(255 / total);
    });
  });
  return confidence;
}
