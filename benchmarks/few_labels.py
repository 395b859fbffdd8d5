"""Labelled images against quality: `fit`, `fit --minutes`, `train` and a U-Net.

    python benchmarks/few_labels.py data/camvid --out camvid.json
    python benchmarks/few_labels.py data/membrane --folds 5 --methods fit unet --out membrane.json

For each number of labelled images, some draws of them are made, and each method gets the same ones:

- `fit`: `segmenter fit`, its encoder frozen;
- `fit-minutes`: `segmenter fit --minutes 5`;
- `train`: `segmenter train --data`, the recipe `finetune`, all its steps;
- `unet`: the U-Net of the package segmentation_models_pytorch for as many minutes as `fit-minutes`;
  its encoder (ResNet-34) starts from random weights.

All are scored on the same images as `segmenter evaluate` does. A run that is in the file already is
not repeated. The seconds are those of this machine, and only mean something if nothing else runs.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional as F

import segmenter
from segmenter.data.folder import Item, LabelledFolder, open_folder, read_sample
from segmenter.evaluation.evaluate import Evaluation, count_agreement, evaluate
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol

_ALL = 0
_UNET_SIDE = 416
_UNET_BATCH = 8


class Draw(NamedTuple):
    """Some labelled images, and those to score on."""

    number: int
    fold: int
    labelled: Sequence[Item]
    test: Sequence[Item]


class Result(NamedTuple):
    """What a method made of a draw."""

    evaluation: Evaluation
    seconds: float
    estimate: float | None = None


def main() -> None:
    """Run what is asked for, and add each result to the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with the splits train and test, or all")
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 2, 5, 10, 20, 50, _ALL])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folds", type=int, default=0, help="of the images, instead of a test set")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["fit"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--short-side", type=int, help="of `fit`; chosen from the data if omitted")
    parser.add_argument("--every", type=int, default=1, help="score on every so many test images")
    parser.add_argument("--out", type=Path, default=Path("few_labels.json"))
    given = parser.parse_args()
    data = open_folder(given.data)
    for count in given.labels:
        for draw in draws(data, count, given.draws, given.folds, given.every):
            for method in given.methods:
                add(given, data, draw, method)
    print_table(json.loads(given.out.read_text()))


def draws(
    data: LabelledFolder, count: int, num_draws: int, num_folds: int, every: int
) -> list[Draw]:
    """Return the draws of a number of labelled images: the same for all methods."""
    if num_folds:
        items = [item for split in data.splits.values() for item in split]
        order = np.random.default_rng(0).permutation(len(items))
        tests = [[items[place] for place in order[fold::num_folds]] for fold in range(num_folds)]
    else:
        items, tests = list(data.items("train")), [list(data.items("test"))[::every]]
    found = []
    for number in range(1 if count == _ALL else num_draws):
        for fold, test in enumerate(tests):
            if num_folds and count != _ALL and fold != number % num_folds:
                continue  # each draw is scored on one fold
            rest = [item for item in items if item not in test] if num_folds else items
            if count > len(rest):
                continue
            rng = np.random.default_rng([number, count])
            places = sorted(rng.permutation(len(rest))[: count or len(rest)])
            found.append(Draw(number, fold, [rest[place] for place in places], test))
    return found


def add(given: argparse.Namespace, data: LabelledFolder, draw: Draw, method: str) -> None:
    """Run a method on a draw, unless it is in the file already."""
    results = json.loads(given.out.read_text()) if given.out.is_file() else []
    key = {"data": given.data.name, "method": method, "labels": len(draw.labelled)}
    key |= {"draw": draw.number, "fold": draw.fold}
    if any(all(each[name] == value for name, value in key.items()) for each in results):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = write_set(data, draw.labelled, Path(folder) / "data")
        result = METHODS[method](root, Path(folder), data, draw.test, given)
    scores = result.evaluation.scores
    found = {
        **key,
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "estimate": result.estimate,
        "seconds": round(result.seconds, 1),
        "test_images": len(draw.test),
        "ious": {each.name: each.iou for each in scores.classes},
    }
    print({name: found[name] for name in (*key, "miou", "estimate", "seconds")}, flush=True)
    given.out.write_text(json.dumps([*results, found], indent=1))


def write_set(data: LabelledFolder, items: Sequence[Item], root: Path) -> Path:
    """Write a data set of some images."""
    for item in items:
        assert item.mask is not None
        name = item.name.replace("/", "-")
        for kind, path in (("images", item.image), ("masks", item.mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, root / kind / f"{name}{path.suffix}")
    (root / "classes.yaml").write_text(data.classes.to_yaml())
    return root


def run_fit(
    root: Path, folder: Path, data: LabelledFolder, test: Sequence[Item], given: argparse.Namespace
) -> Result:
    """Fit a decoder, its encoder frozen."""
    return _fitted(root, folder, data, test, {"short_side": given.short_side})


def run_fit_minutes(
    root: Path, folder: Path, data: LabelledFolder, test: Sequence[Item], given: argparse.Namespace
) -> Result:
    """Fit a decoder, then tune the encoder's last blocks."""
    options = {"short_side": given.short_side, "minutes": given.minutes}
    return _fitted(root, folder, data, test, options)


def _fitted(
    root: Path, folder: Path, data: LabelledFolder, test: Sequence[Item], options: dict[str, Any]
) -> Result:
    begin = time.perf_counter()
    fitted = segmenter.fit(root, folder / "model.safetensors", **options)
    seconds = time.perf_counter() - begin
    found = evaluate(Predictor(fitted.path, precision="float32"), test, data.classes)
    return Result(found, seconds, fitted.miou)


def run_train(
    root: Path, folder: Path, data: LabelledFolder, test: Sequence[Item], given: argparse.Namespace
) -> Result:
    """Fine-tune by the packaged recipe; one image is all that is trained on, and none is scored."""
    del given
    begin = time.perf_counter()
    val = {"val": None} if len(list((root / "images").iterdir())) == 1 else {}
    trained = segmenter.train(data={"root": str(root), **val}, out=folder / "run")
    seconds = time.perf_counter() - begin
    found = evaluate(Predictor(trained.path, precision="float32"), test, data.classes)
    return Result(found, seconds, trained.miou)


def run_unet(
    root: Path, folder: Path, data: LabelledFolder, test: Sequence[Item], given: argparse.Namespace
) -> Result:
    """Train a U-Net with a random encoder for the same minutes."""
    del folder
    import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    model = smp.Unet("resnet34", encoder_weights=None, classes=len(data.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    samples = [read_sample(item, data.classes) for item in open_folder(root).items("all")]
    rng, begin = np.random.default_rng(0), time.perf_counter()
    limit, step = 60 * given.minutes, 0
    while (spent := time.perf_counter() - begin) < limit:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * spent / limit))
        images, labels = zip(*(_crop(samples, rng) for _ in range(_UNET_BATCH)), strict=True)
        logits = model(torch.stack(images))
        loss = F.cross_entropy(logits, torch.stack(labels), ignore_index=data.classes.ignore_index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    print(f"U-Net: {step} steps")
    model.eval()

    def label(item: Item) -> tuple[Item, np.ndarray, np.ndarray]:
        sample = read_sample(item, data.classes)
        height, width = sample.labels.shape
        padded = cv2.copyMakeBorder(
            sample.image, 0, -height % 32, 0, -width % 32, cv2.BORDER_REFLECT_101
        )
        with torch.inference_mode():
            logits = model(_tensor(padded)[None])[0, :, :height, :width]
        return item, sample.labels, logits.argmax(dim=0).numpy().astype(sample.labels.dtype)

    return Result(count_agreement(map(label, test), data.classes, EvaluationProtocol()), limit)


def _crop(samples: Sequence[Any], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a random crop of a random image, scaled by 0.7 to 1.5 and perhaps mirrored."""
    sample = samples[rng.integers(len(samples))]
    scale = math.exp(rng.uniform(math.log(0.7), math.log(1.5)))
    image = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(sample.labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    down, across = (max(_UNET_SIDE - side, 0) for side in labels.shape)
    image = cv2.copyMakeBorder(image, 0, down, 0, across, cv2.BORDER_REFLECT_101)
    labels = cv2.copyMakeBorder(labels, 0, down, 0, across, cv2.BORDER_CONSTANT, value=255)
    top, left = (int(rng.integers(side - _UNET_SIDE + 1)) for side in labels.shape)
    window = slice(top, top + _UNET_SIDE), slice(left, left + _UNET_SIDE)
    image, labels = image[window], labels[window]
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return _tensor(image), torch.from_numpy(labels.astype(np.int64))


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print the mean and the spread of the draws for each method and number of images."""
    groups: dict[tuple[str, int], list[float]] = {}
    for each in results:
        groups.setdefault((each["method"], each["labels"]), []).append(100 * each["miou"])
    print("| method | images | draws | mIoU | lowest | highest |\n|---|---|---|---|---|---|")
    for (method, count), mious in sorted(groups.items()):
        low, high = min(mious), max(mious)
        print(
            f"| {method} | {count} | {len(mious)} | {np.mean(mious):.2f} | {low:.2f} | {high:.2f} |"
        )


METHODS: dict[str, Callable[..., Result]] = {
    "fit": run_fit,
    "fit-minutes": run_fit_minutes,
    "train": run_train,
    "unet": run_unet,
}

if __name__ == "__main__":
    main()
