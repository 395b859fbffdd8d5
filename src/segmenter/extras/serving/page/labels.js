// Label maps: read from run lengths, cut into regions, and counted.

/** COCO's packed run lengths as numbers. */
function unpack(text) {
  const counts = [];
  for (let place = 0; place < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const bits = text.charCodeAt(place++) - 48;
      value |= (bits & 31) << shift;
      more = (bits & 32) !== 0;
      shift += 5;
      if (!more && bits & 16) value |= -1 << shift;
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

/** The class of each pixel, row by row; `none` where no mask lies. */
export function labelsFromMasks(height, width, classes, none) {
  const labels = new Uint16Array(height * width).fill(none);
  for (const { index, rle } of classes) {
    let place = 0;
    unpack(rle.counts).forEach((length, turn) => {
      if (turn % 2) {
        for (let at = place; at < place + length; at++) {
          labels[(at % height) * width + Math.floor(at / height)] = index;
        }
      }
      place += length;
    });
  }
  return labels;
}

/** Every pixel with the number of its region: neighbours of one class, side by side. */
export function findRegions(labels, height, width) {
  const regions = new Int32Array(labels.length).fill(-1);
  const stack = [];
  let count = 0;
  for (let start = 0; start < labels.length; start++) {
    if (regions[start] >= 0) continue;
    const label = labels[start];
    regions[start] = count;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const column = at % width;
      const neighbours = [
        at - width, at + width, column ? at - 1 : -1, column < width - 1 ? at + 1 : -1,
      ];
      for (const next of neighbours) {
        if (next >= 0 && next < labels.length && regions[next] < 0 && labels[next] === label) {
          regions[next] = count;
          stack.push(next);
        }
      }
    }
    count++;
  }
  return regions;
}

/** Share of each class in the labelled pixels. */
export function classShares(labels, numClasses) {
  const counts = new Float64Array(numClasses);
  let total = 0;
  for (const label of labels) {
    if (label < numClasses) { counts[label]++; total++; }
  }
  return counts.map((count) => count / Math.max(total, 1));
}

/** A label map or grid of numbers at another size, by nearest neighbour. */
export function resizeNearest(values, [height, width], [newHeight, newWidth]) {
  if (height === newHeight && width === newWidth) return values;
  const resized = new values.constructor(newHeight * newWidth);
  for (let row = 0; row < newHeight; row++) {
    const from = Math.floor(((row + 0.5) * height) / newHeight) * width;
    for (let column = 0; column < newWidth; column++) {
      resized[row * newWidth + column] = values[from + Math.floor(((column + 0.5) * width) / newWidth)];
    }
  }
  return resized;
}
