// Of every page with pictures: dividers between two pictures, class names under the pointer, enlarged pictures.
const classNames = JSON.parse(document.getElementById("class-names")?.textContent ?? "[]");

for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input");
  const move = () => slider.style.setProperty("--split", `${range.value}%`);
  range.addEventListener("input", move);
  move();
}

/* A small picture whose red and green hold the class of each pixel. */
async function readMap(source) {
  const image = Object.assign(new Image(), { src: source });
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

for (const picture of document.querySelectorAll("[data-map]")) {
  const label = Object.assign(document.createElement("span"), { className: "named", hidden: true });
  picture.append(label);
  let reading = null, map = null;
  picture.addEventListener("pointermove", (event) => {
    reading ??= readMap(picture.dataset.map).then((found) => { map = found; });
    if (!map) return;
    const box = picture.querySelector("img").getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const inside = x >= 0 && x < 1 && y >= 0 && y < 1;
    const at = 4 * (Math.floor(y * map.height) * map.width + Math.floor(x * map.width));
    const name = inside ? classNames[map.data[at] + 256 * map.data[at + 1]] : undefined;
    label.hidden = name === undefined;
    label.textContent = name ?? "";
    label.style.cssText = `top:${100 * y}%;${x > 0.6 ? `right:${100 - 100 * x}%` : `left:${100 * x}%`}`;
  });
  picture.addEventListener("pointerleave", () => { label.hidden = true; });
}

for (const views of document.querySelectorAll(".views"))
  views.addEventListener("click", () => views.classList.toggle("large"));

for (const button of document.querySelectorAll("button.zoom"))
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    const dialog = Object.assign(document.createElement("dialog"), { className: "zoomed" });
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
    const large = Object.assign(new Image(), { src: image.src, alt: image.alt });
    const caption = Object.assign(document.createElement("p"), { textContent: image.alt });
    dialog.append(caption, close, large);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); button.focus(); });
    document.body.append(dialog);
    dialog.showModal();
  });
