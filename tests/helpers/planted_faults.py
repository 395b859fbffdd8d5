"""Data sets with one fault each, and the kinds of fault that `check` finds in them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from segmenter.data.published.open_data import open_data
from segmenter.extras.checking.data_check import Check, check
from tests.helpers.drawn_items import draw_image, draw_mask, write_item

IMAGE, MASK = "images/train/a.png", "masks/train/a.png"


def check_folder(root: Path, workers: int = 0) -> Check:
    return check(open_data(str(root), keep_problems=True), str(root), workers)


def kinds(found: Check) -> list[str]:
    return [finding.kind for finding in found.findings]


def save_mask(root: Path, mask: np.ndarray, **options: Any) -> None:
    Image.fromarray(mask).save(root / MASK, **options)


def cut(name: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[:-200])

    return plant


def without(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def in_other_suffix(root: Path) -> None:
    Image.open(root / IMAGE).save(root / "images/train/a.bmp")


def two_masks(root: Path) -> None:
    for suffix in (".bmp", ".tif"):
        Image.fromarray(draw_mask(0)).save(root / f"masks/train/a{suffix}")
    (root / MASK).unlink()


def smaller_mask(root: Path) -> None:
    save_mask(root, draw_mask(0)[:-1])


def turn(orientation: int, *, mask_too: bool) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(root / IMAGE).save(root / IMAGE, exif=exif)
        if mask_too:
            save_mask(root, np.rot90(draw_mask(0), -1).copy())

    return plant


def unlisted_value(root: Path) -> None:
    mask = draw_mask(0)
    mask[:10] = 7
    save_mask(root, mask)


def anti_aliased(root: Path) -> None:
    save_mask(root, cv2.GaussianBlur(draw_mask(0) * 28, (5, 5), 0))


def as_jpeg(root: Path) -> None:
    """Whatever its suffix: what a file is, is seen by its content."""
    content = simplejpeg.encode_jpeg(draw_mask(0)[:, :, None].copy(), 60, "GRAY")
    (root / MASK).write_bytes(content)


def as_intact_jpeg(root: Path) -> None:
    mask = np.zeros((96, 128, 1), dtype=np.uint8)
    mask[:48] = 3
    (root / MASK).write_bytes(simplejpeg.encode_jpeg(mask, 100, "GRAY"))


def in_colours(root: Path) -> None:
    palette = np.zeros((10, 3), dtype=np.uint8)
    palette[[3, 9]] = (0, 200, 0), (200, 0, 0)
    save_mask(root, palette[draw_mask(0)])


def all_ignored(root: Path) -> None:
    save_mask(root, np.full((96, 128), 255, dtype=np.uint8))


def one_class(root: Path) -> None:
    save_mask(root, np.full((96, 128), 3, dtype=np.uint8))


def smoothly_resized(root: Path) -> None:
    """Between 0 and 9, bilinear resizing makes values that are all those of classes."""
    listed = ", ".join(f"{{name: c{v}, color: [0, 0, {v}], values: [{v}]}}" for v in range(10))
    (root / "classes.yaml").write_text(f"classes: [{listed}]\n")
    for name in ("train/a", "train/b", "train/c", "val/d", "val/e"):
        rng = np.random.default_rng(len(name) + ord(name[-1]))
        coarse = rng.permutation(np.arange(96) % 10).reshape(8, 12).astype(np.uint8)
        small = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_NEAREST)
        way = cv2.INTER_LINEAR if name == "train/a" else cv2.INTER_NEAREST
        path = root / "masks" / f"{name}.png"
        Image.fromarray(cv2.resize(small, (128, 96), interpolation=way)).save(path)


def copy_image(name: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        shutil.copy(root / IMAGE, root / "images" / f"{name}.png")

    return plant


def like_image(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """An image of its own size, made from that of `train/a`."""

    def plant(root: Path) -> None:
        changed = np.ascontiguousarray(change(draw_image(0)))
        mask = cv2.resize(draw_mask(4), changed.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        write_item(root, name, changed, mask)

    return plant


def saved_again(image: np.ndarray) -> np.ndarray:
    return simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image, 50))


def scaled(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (70, 50), interpolation=cv2.INTER_AREA)


def class_only_in(split: str) -> Callable[[Path], None]:
    """The sign is taken out of the masks of all other splits."""

    def plant(root: Path) -> None:
        for path in (root / "masks").rglob("*.png"):
            mask = np.array(Image.open(path))
            if path.parent.name != split:
                mask[mask == 9] = 0
            Image.fromarray(mask).save(path)

    return plant


def lists(root: Path, **lines: str) -> None:
    for name, text in lines.items():
        (root / f"{name}.txt").write_text(text)


def lines(*names: str) -> str:
    return "".join(f"images/{name}.png masks/{name}.png\n" for name in names)


def line_without_file(root: Path) -> None:
    gone = "images/train/gone.png masks/train/a.png\n"
    lists(root, train=lines("train/a", "train/b") + gone, val=lines("val/d"))


def line_without_mask(root: Path) -> None:
    lists(root, train=lines("train/a") + "images/train/b.png\n", val=lines("val/d"))


def list_without_masks(root: Path) -> None:
    lists(root, train=lines("train/a", "train/b"), test="images/val/d.png\n")
    without("masks/val/d.png")(root)


def list_of_both(root: Path) -> None:
    train, val = lines("train/a", "train/b"), lines("val/d")
    lists(root, train=train, val=val, trainval=train + val)


def deepened(*names: str, bits: int = 12) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for name in names:
            path = str(root / "images" / f"{name}.png")
            pixels = np.asarray(cv2.imread(path))
            cv2.imwrite(path, pixels.astype(np.uint16) << (bits - 8))

    return plant


def deepened_unevenly(root: Path) -> None:
    deepened("train/a", "train/b")(root)
    deepened("val/d", bits=16)(root)


def with_fourth_band(root: Path) -> None:
    image = np.array(Image.open(root / IMAGE))
    Image.fromarray(np.dstack([image, image[:, :, 0]])).save(root / "images/train/a.tif")
    (root / IMAGE).unlink()


def with_one_of_floats(root: Path) -> None:
    values = np.random.default_rng(0).random(draw_mask(0).shape, np.float32)
    Image.fromarray(values).save(root / "images/train/b.png", format="TIFF")


def with_an_empty_band(root: Path) -> None:
    """All images with a fourth band of zeros, as arrays: content tells the format."""
    for path in sorted((root / "images").rglob("*.png")):
        colors = np.array(Image.open(path).convert("RGB")).astype(np.uint16) * 16
        with path.open("wb") as file:
            np.save(file, np.dstack([colors, np.zeros_like(colors[:, :, :1])]))


def with_pages(root: Path) -> None:
    page = Image.open(root / IMAGE)
    page.save(root / "images/train/a.tif", save_all=True, append_images=[page])
    (root / IMAGE).unlink()


PLANTED: list[tuple[str, Callable[[Path], object]]] = [
    ("unreadable-photo", cut(IMAGE)),
    ("unreadable-mask", cut(MASK)),
    ("missing-file", line_without_file),
    ("same-name", in_other_suffix),
    ("several-masks", two_masks),
    ("photo-without-mask", without(MASK)),
    ("photo-without-mask", line_without_mask),
    ("mask-without-photo", without(IMAGE)),
    ("size-differs", smaller_mask),
    ("not-turned", turn(6, mask_too=False)),
    ("turned-photo", turn(6, mask_too=True)),
    ("perhaps-not-turned", turn(3, mask_too=False)),
    ("unknown-values", unlisted_value),
    ("smooth-mask", anti_aliased),
    ("blended-mask", smoothly_resized),
    ("jpeg-mask", as_jpeg),
    ("jpeg-format", as_intact_jpeg),
    ("rgb-mask", in_colours),
    ("grey-as-rgb", lambda root: save_mask(root, np.dstack([draw_mask(0)] * 3))),
    ("sixteen-bit-mask", lambda root: save_mask(root, draw_mask(0).astype(np.uint16) * 257)),
    ("sixteen-bit-format", lambda root: save_mask(root, draw_mask(0).astype(np.uint16))),
    ("all-ignored", all_ignored),
    ("constant-mask", one_class),
    ("leak", copy_image("val/d")),
    ("format-not-read", lambda root: (root / "images/train/f.heic").write_bytes(b"x")),
    ("duplicate", copy_image("train/b")),
    ("near-leak", like_image("val/f", saved_again)),
    ("near-leak", like_image("val/f", scaled)),
    ("near-leak", like_image("val/f", lambda image: image[:, ::-1])),
    ("near-leak", like_image("val/f", lambda image: scaled(saved_again(image))[:, ::-1])),
    ("near-duplicate", like_image("train/f", saved_again)),
    ("dropped-band", with_fourth_band),
    ("other-bands", with_one_of_floats),
    ("constant-band", with_an_empty_band),
    ("several-pages", with_pages),
    ("deep-photo", deepened("train/a")),
    ("dark-depth", deepened_unevenly),
    ("class-missing", class_only_in("val")),
    ("class-not-scored", class_only_in("train")),
    ("unlabelled-split", list_without_masks),
    ("nested-split", list_of_both),
]
