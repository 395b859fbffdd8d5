// The images that are open: the oldest are let go where all together would take too much memory.

const MAX_OPENED = 24;
const MAX_PIXELS = 1e8; // of all; an image and its labels take 6 bytes a pixel

const pixels = ({ result }) => result.width * result.height;

/** Add an image to those that are open; the oldest are let go, but for the one that is shown. */
export function keep(opened, entry, shown) {
  opened.push(entry);
  let total = opened.reduce((sum, each) => sum + pixels(each), 0);
  for (const each of opened.filter((one) => one !== entry && one !== shown)) {
    if (opened.length <= MAX_OPENED && total <= MAX_PIXELS) return;
    opened.splice(opened.indexOf(each), 1);
    total -= pixels(each);
    each.image.close();
  }
}
