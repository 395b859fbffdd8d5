"""Labelled images against quality: `fit`, `fit --minutes`, `train` and a U-Net.

    python benchmarks/few_labels.py data/camvid --short-side 560 --every 8 --out camvid.json
    python benchmarks/few_labels.py data/membrane --folds 5 --short-side 504 --shifts 2
    python benchmarks/few_labels.py data/membrane --folds 5 --methods fit-minutes --labels 10

For each number of labelled images, some draws of them are made, and each method gets the same ones:

- `fit`: what `segmenter fit` does, its encoder frozen. The tokens of all images are computed once,
  so its seconds are those of the fit alone; `tokens` holds those of an image;
- `fit-minutes`: `segmenter fit --minutes 5`, the minutes being those of two cores: the CPU time of
  all threads divided by two, so that nothing else that runs takes steps away;
- `train`: `segmenter train --data`, the recipe `finetune`, all its steps or `--steps`;
- `unet`: the U-Net of the package segmentation_models_pytorch for as many minutes as `fit-minutes`;
  its encoder (ResNet-34) starts from random weights.

All are scored on the same images as `segmenter evaluate` does. A run that is in the file already is
not repeated. The seconds are of all threads of the process, so they depend little on what else
runs.
"""

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import torch
from cached_fits import CachedFits
from results_file import load, save
from torch.nn import functional as F

import segmenter
from segmenter.data.folder import Item, LabelledFolder, open_folder, read_sample
from segmenter.evaluation.evaluate import Evaluation, count_agreement, evaluate
from segmenter.fitting.tune import Tuning
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol

GROUPED_BY = ("data", "method", "short_side", "shifts", "labels")
PRECISION = "tokens and fit in the precision of `segmenter fit` on this machine"
_ALL = 0
_CORES = 2
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
    token_seconds: float | None = None


class Trial:
    """What is asked for, and the data."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.data = given, open_folder(given.data)
        self.short_side, self.shifts, self.minutes = given.short_side, given.shifts, given.minutes

    @cached_property
    def fits(self) -> CachedFits:
        """The fits, whose tokens are computed once."""
        name = f"{self.given.data.name}-{self.short_side}-{self.shifts}"
        return CachedFits(self.given.data, self.given.tokens / name, self.short_side, self.shifts)

    @cached_property
    def token_seconds(self) -> float:
        """Seconds that all threads take for the tokens of an image."""
        return self.fits.token_seconds([items[0] for items in self.data.splits.values()])


def main() -> None:
    """Run what is asked for, and add each result to the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with the splits train and test, or all")
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 2, 5, 10, 20, 50, _ALL])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folds", type=int, default=0, help="of the images, instead of a test set")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["fit"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--short-side", type=int, help="chosen from the data if omitted")
    parser.add_argument("--shifts", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="score on every so many test images")
    parser.add_argument("--tokens", type=Path, default=Path("build/tokens"), help="folder for them")
    parser.add_argument("--steps", type=int, help="of `train`; those of the recipe if omitted")
    parser.add_argument("--out", type=Path, default=Path("few-labels.json"))
    given = parser.parse_args()
    trial = Trial(given)
    for count in given.labels:
        for draw in draws(trial.data, count, given.draws, given.folds, given.every):
            for method in given.methods:
                add(trial, draw, method)
    print_table(load(given.out, {"groups": []})["groups"])


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


def add(trial: Trial, draw: Draw, method: str) -> None:
    """Run a method on a draw, unless it is in the file already."""
    rows = load(trial.given.out, {"rows": []})["rows"]
    key = {"data": trial.given.data.name, "method": method, "labels": len(draw.labelled)}
    key |= {"draw": draw.number, "fold": draw.fold}
    key |= {"short_side": trial.short_side, "shifts": trial.shifts}
    if any(all(each[name] == value for name, value in key.items()) for each in rows):
        return
    result = METHODS[method](trial, draw)
    scores = result.evaluation.scores
    found = {
        **key,
        "miou": _rounded(scores.miou),
        "pixel_accuracy": _rounded(scores.pixel_accuracy),
        "estimate": _rounded(result.estimate),
        "seconds": round(result.seconds, 1),
        "token_seconds": result.token_seconds and round(result.token_seconds, 2),
        "test_images": len(draw.test),
        "steps": trial.given.steps,
        "ious": {each.name: _rounded(each.iou) for each in scores.classes},
    }
    print({name: found[name] for name in (*key, "miou", "estimate", "seconds")}, flush=True)
    rows.append(found)
    save(trial.given.out, {"rows": rows, "groups": groups(rows)}, PRECISION)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(float(share), 4)


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


def run_fit(trial: Trial, draw: Draw) -> Result:
    """Fit a decoder, its encoder frozen."""
    found = trial.fits.fit(draw.labelled)
    evaluation = trial.fits.evaluate(draw.test, found.fits.whole)
    estimate = trial.fits.estimate(draw.labelled, found.fits)
    return Result(evaluation, found.seconds, estimate, trial.token_seconds)


def run_fit_minutes(trial: Trial, draw: Draw) -> Result:
    """Fit a decoder, then train the encoder too."""
    options = {"short_side": trial.short_side, "shifts": trial.shifts, "minutes": trial.minutes}
    with tempfile.TemporaryDirectory() as folder:
        root = write_set(trial.data, draw.labelled, Path(folder) / "data")
        begin = time.process_time()
        with patch("segmenter.api.run_fit.Tuning", partial(Tuning, clock=_core_seconds)):
            fitted = segmenter.fit(root, Path(folder) / "model.safetensors", **options)
        seconds = time.process_time() - begin
        return Result(_evaluated(fitted.path, trial, draw), seconds, fitted.miou)


def _core_seconds() -> float:
    """Return the time of a machine of which this process has all cores."""
    return time.process_time() / _CORES


def run_train(trial: Trial, draw: Draw) -> Result:
    """Fine-tune by the packaged recipe; one image is all that is trained on, and none is scored."""
    val = {"val": None} if len(draw.labelled) == 1 else {}
    with tempfile.TemporaryDirectory() as folder:
        root = write_set(trial.data, draw.labelled, Path(folder) / "data")
        begin = time.process_time()
        steps = trial.given.steps
        schedule = {} if steps is None else {"steps": steps, "warmup_steps": steps // 10}
        fields = {"data": {"root": str(root), **val}, "schedule": schedule}
        trained = segmenter.train(**fields, out=Path(folder) / "run")
        seconds = time.process_time() - begin
        return Result(_evaluated(trained.path, trial, draw), seconds, trained.miou)


def _evaluated(model: Path, trial: Trial, draw: Draw) -> Evaluation:
    return evaluate(Predictor(model, precision="float32"), draw.test, trial.data.classes)


def run_unet(trial: Trial, draw: Draw) -> Result:
    """Train a U-Net with a random encoder for the same minutes."""
    import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    model = smp.Unet("resnet34", encoder_weights=None, classes=len(trial.data.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    classes = trial.data.classes
    samples = [read_sample(item, classes) for item in draw.labelled]
    rng, begin = np.random.default_rng(0), _core_seconds()
    limit, step = 60 * trial.minutes, 0
    while (spent := _core_seconds() - begin) < limit:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * spent / limit))
        images, labels = zip(*(_crop(samples, rng) for _ in range(_UNET_BATCH)), strict=True)
        logits = model(torch.stack(images))
        loss = F.cross_entropy(logits, torch.stack(labels), ignore_index=classes.ignore_index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    print(f"U-Net: {step} steps")
    model.eval()

    def label(item: Item) -> tuple[Item, np.ndarray, np.ndarray]:
        sample = read_sample(item, classes)
        height, width = sample.labels.shape
        padded = cv2.copyMakeBorder(
            sample.image, 0, -height % 32, 0, -width % 32, cv2.BORDER_REFLECT_101
        )
        with torch.inference_mode():
            logits = model(_tensor(padded)[None])[0, :, :height, :width]
        return item, sample.labels, logits.argmax(dim=0).numpy().astype(sample.labels.dtype)

    found = count_agreement(map(label, draw.test), classes, EvaluationProtocol())
    return Result(found, _CORES * limit)


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


def groups(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and spread of the draws for each method, size and number of images."""
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        members.setdefault(tuple(row[name] for name in GROUPED_BY), []).append(row)
    return [
        dict(zip(GROUPED_BY, key, strict=True)) | _summary(members[key]) for key in sorted(members)
    ]


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mious = [row["miou"] for row in rows]
    estimates = [row["estimate"] for row in rows if row["estimate"] is not None]
    return {
        "draws": len(rows),
        "miou": _rounded(np.mean(mious)),
        "lowest": min(mious),
        "highest": max(mious),
        "pixel_accuracy": _rounded(np.mean([row["pixel_accuracy"] for row in rows])),
        "estimate": _rounded(np.mean(estimates)) if estimates else None,
        "seconds": round(float(np.mean([row["seconds"] for row in rows])), 1),
        "token_seconds": rows[0]["token_seconds"],
        "ious": {
            name: _rounded(np.mean([row["ious"][name] or 0.0 for row in rows]))
            for name in rows[0]["ious"]
        },
    }


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each group."""
    shown = (*GROUPED_BY, "draws", "miou", "lowest", "highest", "seconds")
    print(f"| {' | '.join(shown)} |\n{'|---' * len(shown)}|")
    for row in rows:
        print(f"| {' | '.join(str(row[name]) for name in shown)} |")


METHODS: dict[str, Callable[..., Result]] = {
    "fit": run_fit,
    "fit-minutes": run_fit_minutes,
    "train": run_train,
    "unet": run_unet,
}

if __name__ == "__main__":
    main()
