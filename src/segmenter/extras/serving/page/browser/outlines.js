// Outlines of the regions of a label map, along the edges of its pixels: `label_files/annotations/outlines.py`.

import { classShares, findRegions } from "./labels.js";

/** The classes that occur, the largest first: {index, name, share, polygons: [{outer, holes}]}. */
export function tracePolygons({ height, width, labels }, names) {
  const regions = findRegions(labels, height, width);
  const shares = classShares(labels, names.length);
  const present = [...shares.keys()].filter((index) => shares[index]);
  present.sort((one, other) => shares[other] - shares[one]);
  return present.map((index) => {
    const outers = new Map(), holes = new Map();
    for (const ring of traceClass(labels, height, width, index)) {
      const [x, y] = ring[0]; // the uppermost corner, of these the leftmost
      const isOuter = labels[y * width + x] === index;
      const region = regions[isOuter ? y * width + x : (y - 1) * width + x];
      if (isOuter) outers.set(region, ring);
      else holes.set(region, [...(holes.get(region) ?? []), ring]);
    }
    const polygons = [...outers].map(([region, outer]) => ({ outer, holes: holes.get(region) ?? [] }));
    return { index, name: names[index], share: shares[index], polygons };
  });
}

/**
 * Every closed line between a class and its surroundings, each from its uppermost left corner.
 *
 * A line turns where an odd number of the four pixels around a point are of the class, and twice
 * where two are across the diagonal. On each level the corners, from left to right, are ends of
 * level sides alternately; and so they are on each upright.
 */
function traceClass(labels, height, width, index) {
  const isIn = (y, x) => y >= 0 && y < height && x >= 0 && x < width && labels[y * width + x] === index;
  const corners = [], beside = [], above = [];
  const open = new Int32Array(width + 1).fill(-1); // the corner on each upright that waits for its end
  for (let y = 0; y <= height; y++) {
    let waiting = -1;
    const turn = (x, goesUp) => {
      const corner = corners.push([x, y]) - 1;
      if (waiting < 0) waiting = corner;
      else { beside[corner] = waiting; beside[waiting] = corner; waiting = -1; }
      if (goesUp) { above[corner] = open[x]; above[open[x]] = corner; }
      return corner;
    };
    for (let x = 0; x <= width; x++) {
      const upperLeft = isIn(y - 1, x - 1), upperRight = isIn(y - 1, x);
      const lowerLeft = isIn(y, x - 1), lowerRight = isIn(y, x);
      const goesUp = upperLeft !== upperRight, goesDown = lowerLeft !== lowerRight;
      if (upperLeft ^ upperRight ^ lowerLeft ^ lowerRight) {
        const corner = turn(x, goesUp);
        open[x] = goesUp ? -1 : corner;
      } else if (goesUp && goesDown && upperLeft !== lowerLeft) {
        // Of the two, the first has its level side to the left. It goes up where the upper left
        // pixel is in, as its outline turns around that pixel.
        const first = turn(x, upperLeft), second = turn(x, !upperLeft);
        open[x] = upperLeft ? second : first;
      }
    }
  }
  return followed(beside, above).map((ring) => ring.map((corner) => corners[corner]));
}

/** Walk from corner to corner, along level and upright sides alternately, until each is used. */
function followed(beside, above) {
  const isUsed = new Uint8Array(beside.length);
  const rings = [];
  for (let start = 0; start < beside.length; start++) {
    const ring = [];
    for (let corner = start; !isUsed[corner]; corner = above[beside[corner]]) {
      isUsed[corner] = isUsed[beside[corner]] = 1;
      ring.push(corner, beside[corner]);
    }
    if (ring.length) rings.push(ring);
  }
  return rings;
}
