// Label maps as PNG: each pixel its class index, and the colours of the classes as the palette.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const IGNORED_COLOR = [255, 255, 255];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(kind, content) {
  const whole = new Uint8Array(content.length + 12);
  const view = new DataView(whole.buffer);
  view.setUint32(0, content.length);
  whole.set(new TextEncoder().encode(kind), 4);
  whole.set(content, 8);
  view.setUint32(content.length + 8, crc(whole.subarray(4, content.length + 8)));
  return whole;
}

/** Rows of pixels, each behind the number of its filter, which is none. */
function rowsOf({ height, width, labels }, depth) {
  const stride = 1 + (width * depth) / 8;
  const rows = new Uint8Array(height * stride);
  const view = new DataView(rows.buffer);
  for (let at = 0, row = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const place = row * stride + 1 + (column * depth) / 8;
      if (depth === 8) rows[place] = labels[at]; else view.setUint16(place, labels[at]);
    }
  }
  return rows;
}

async function compress(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Indexed with 8 bits; grey with 16 bits where there are more than 255 classes. */
export async function labelMapPng(result, colors) {
  const depth = colors.length > 255 ? 16 : 8;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, result.width);
  view.setUint32(4, result.height);
  header[8] = depth;
  header[9] = depth === 8 ? 3 : 0;
  const palette = new Uint8Array(3 * 256);
  if (depth === 8) {
    palette.set(colors.flat());
    palette.set(IGNORED_COLOR, 3 * 255);
  }
  return new Blob([
    new Uint8Array(SIGNATURE),
    chunk("IHDR", header),
    ...(depth === 8 ? [chunk("PLTE", palette)] : []),
    chunk("IDAT", await compress(rowsOf(result, depth))),
    chunk("IEND", new Uint8Array()),
  ], { type: "image/png" });
}
