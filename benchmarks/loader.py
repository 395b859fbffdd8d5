"""How fast training crops are made, beside PaddleSeg's own loader.

    PYTHONPATH=src python benchmarks/loader.py data/camvid IMAGES

Both read the same JPEGs of 683 x 512 (the usual size in ADE20K) with PNG masks, made from the
images given, and do what PaddleSeg's recipes for ADE20K do: decode, resize by a factor of 0.5,
0.75, ... or 2, crop to 512 x 512, mirror, jitter colours. PaddleSeg normalises in its loader; we
hand over uint8, which is normalised on the device. `default` is our own default augmentation.

PaddleSeg gets an environment of its own, made once in the cache folder (about 1.5 GB, from PyPI).
Rounds alternate between the sides, each in a fresh process. Writes medians to
results/loader.json, of which docs/experiments/loader.md has a table.

- one core: no worker processes, bound to one core
- workers: that many worker processes, on all cores
- CPU seconds: of the main process and its workers together; hardly touched by what else is running
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from environments import CACHE, peer_python
from results_file import save

RESULTS = Path("results/loader.json")
CROP, BATCH, SEED = 512, 8, 0
IMAGE_SIZE = 683, 512
JITTER = 0.4
UNITS = ("images_per_s", "cpu_ms")
"""Images a second, and milliseconds of CPU time an image."""
SIDES = ("ours", "default", "paddleseg")


def main() -> None:
    """Make images and environment, run the rounds, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders of JPEGs, searched deeply")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--batches", type=int, default=30, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    data = given.cache / "loader-data"
    if given.side:
        print(json.dumps(measure(given.side, data, given.batches, given.workers)))
        return
    if not given.folders and not data.is_dir():
        parser.error("give folders of images for the first run")
    if not data.is_dir():
        make_images(given.folders, data, given.photos)
    peer = peer_python("paddleseg", given.cache)
    found = {
        "one_core" if workers == 0 else "workers": compare(peer, workers, given)
        for workers in (0, given.workers)
    }
    save(RESULTS, found, precision="uint8")


def compare(peer: Path, workers: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return medians of each side, and of the ratios of ours to PaddleSeg's in each round."""
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(given.rounds):
        for side in SIDES:
            python = peer if side == "paddleseg" else Path(sys.executable)
            rounds[side].append(run_round(python, side, workers, given))
            print(workers, side, rounds[side][-1], flush=True)
    found = {
        side: {key: round(median(each[key] for each in rounds[side]), 2) for key in UNITS}
        for side in SIDES
    }
    for side, name in (("ours", "ratio"), ("default", "default_ratio")):
        pairs = list(zip(rounds[side], rounds["paddleseg"], strict=True))
        rate = median(ours["images_per_s"] / theirs["images_per_s"] for ours, theirs in pairs)
        cpu = median(theirs["cpu_ms"] / ours["cpu_ms"] for ours, theirs in pairs)
        found[name] = {"images_per_s": round(rate, 2), "cpu_ms": round(cpu, 2)}
    return found


def run_round(python: Path, side: str, workers: int, given: argparse.Namespace) -> dict[str, float]:
    """Measure one side in a fresh process."""
    arguments = ["--side", side, "--workers", str(workers), "--batches", str(given.batches)]
    command = [str(python), __file__, *arguments, "--cache", str(given.cache)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(side: str, data: Path, num_batches: int, workers: int) -> dict[str, float]:
    """Return images per second and CPU time, after a first batch that is not counted."""
    if workers == 0:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if side == "paddleseg":
        batches = paddle_batches(data, num_batches + 1, workers)
    else:
        batches = our_batches(data, num_batches + 1, workers, is_default=side == "default")
    cpu_before = cpu_seconds()
    next(batches)
    start = time.perf_counter()
    if workers == 0:
        cpu_before = cpu_seconds()
    num_images = sum(len(batch[0]) for batch in batches)
    seconds = time.perf_counter() - start
    # Of workers that have ended: they made the first batch too.
    counted = num_images + (BATCH if workers else 0)
    cpu_ms = 1000 * (cpu_seconds() - cpu_before) / counted
    return {"images_per_s": num_images / seconds, "cpu_ms": cpu_ms}


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def our_batches(
    data: Path, num_batches: int, workers: int, *, is_default: bool
) -> Iterator[Sequence]:
    """Batches as `segmenter train` makes them, by PaddleSeg's steps or our defaults."""
    import cv2
    import numpy as np
    import torch

    from segmenter.data.folder import open_folder
    from segmenter.data.loading import SampleStream, make_loader
    from segmenter.data.transforms import CropTransform
    from segmenter.recipe import AugmentRecipe

    torch.set_num_threads(1)
    if workers == 0:
        cv2.setNumThreads(0)
    folder = open_folder(data)
    items = folder.items("train")
    paddle = {} if is_default else {"scale_draw": "quarters", "color": "paddleseg"}
    augment = AugmentRecipe(crop_size=CROP, **paddle)
    transform = CropTransform(augment, (127.5,) * 3, folder.classes.ignore_index)
    counts = np.ones((len(items), len(folder.classes)), dtype=np.int64)
    stream = SampleStream(items, folder.classes, transform, SEED, pixel_counts=counts)
    return iter(make_loader(stream, range(num_batches * BATCH), BATCH, workers))


def paddle_batches(data: Path, num_batches: int, workers: int) -> Iterator[Sequence]:
    """Batches as `paddleseg.core.train` makes them."""
    import cv2
    import numpy as np
    import paddle
    import paddleseg.transforms as T
    from paddleseg.datasets import Dataset

    if workers == 0:
        cv2.setNumThreads(0)
    paddle.seed(SEED)
    transforms = [
        T.ResizeStepScaling(0.5, 2.0, 0.25),
        T.RandomPaddingCrop((CROP, CROP)),
        T.RandomHorizontalFlip(),
        T.RandomDistort(brightness_range=JITTER, contrast_range=JITTER, saturation_range=JITTER),
        T.Normalize(),
    ]
    dataset = Dataset(
        mode="train",
        dataset_root=str(data),
        transforms=transforms,
        num_classes=11,
        train_path=str(data / "train.txt"),
    )
    rng = np.random.default_rng(SEED)
    order = np.concatenate([rng.permutation(len(dataset)) for _ in range(num_batches)])
    loader = paddle.io.DataLoader(
        dataset,
        batch_sampler=order[: num_batches * BATCH].reshape(-1, BATCH).tolist(),
        num_workers=workers,
        return_list=True,
    )
    for batch in loader:
        yield [batch["img"], batch["label"]] if isinstance(batch, dict) else batch


def make_images(folders: Sequence[Path], data: Path, count: int) -> None:
    """Crop and scale images to one size; masks are those beside them, or blobs of 11 classes."""
    import numpy as np
    from PIL import Image, ImageOps

    sources = sorted(path for folder in folders for path in folder.rglob("*.jpg"))
    large = [path for path in sources if "images" not in path.parts]
    small = [path for path in sources if "images" in path.parts]
    num_small = max(count - len(large), 0)
    chosen = large[:count] + small[:: max(len(small) // max(num_small, 1), 1)][:num_small]
    aside = data.with_name(f".{data.name}-{os.getpid()}")
    (aside / "images").mkdir(parents=True)
    (aside / "masks").mkdir()
    rng = np.random.default_rng(SEED)
    names = []
    for number, path in enumerate(chosen):
        name = f"{number:04d}"
        image = ImageOps.fit(Image.open(path).convert("RGB"), IMAGE_SIZE, Image.Resampling.LANCZOS)
        image.save(aside / "images" / f"{name}.jpg", quality=90)
        beside = Path(str(path).replace("/images/", "/masks/")).with_suffix(".png")
        if "images" in path.parts and beside.is_file():
            mask = Image.open(beside)
        else:
            mask = Image.fromarray(rng.integers(0, 11, (12, 16), dtype=np.uint8))
        ImageOps.fit(mask, IMAGE_SIZE, Image.Resampling.NEAREST).save(
            aside / "masks" / f"{name}.png"
        )
        names.append(f"images/{name}.jpg masks/{name}.png\n")
    classes = "".join(
        f"- {{name: class-{i}, color: [{i}, 0, 0], values: [{i}]}}\n" for i in range(11)
    )
    (aside / "classes.yaml").write_text(f"classes:\n{classes}ignore: [11, 255]\n")
    (aside / "train.txt").write_text("".join(names))
    aside.rename(data)


if __name__ == "__main__":
    main()
