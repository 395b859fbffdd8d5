"""At which size to show images: the same probe at a fixed short side and at the chosen one.

    python benchmarks/sizes.py data/camvid --out sizes.json

Four sets are made of CamVid's images of 480 x 360: as they are, shrunk to half, enlarged three
times, and mosaics of nine images each, 1440 x 1080, in which every thing is a third as large. For
each set and each short side, a linear decoder is fitted to the features of the frozen bundled
encoder, seen once from each training image in the windows that the recipe `finetune` would use, and
scored on test images as `evaluate` does. All arms see the same images. The table ranks sizes, it
does not say how good a trained model gets. docs/explanation/sizes.md holds it.

    python benchmarks/sizes.py data/camvid --steps 60 --crop 224 --out sizes-trained.json

trains the recipe `finetune` for that many updates instead, with the same seed and the same side of
crops in all arms. A run that was broken off resumes, and an arm that the file has is not made
again.
"""

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from results_file import load, save
from torch import Tensor, nn
from torch.nn import functional as F

import segmenter
from segmenter.checkpoints import load as load_model
from segmenter.data.folder import Item, LabelledFolder, open_folder, read_sample
from segmenter.data.sample import Sample
from segmenter.evaluation.evaluate import evaluate
from segmenter.extras.checking.before_training import read_training_data
from segmenter.inference import Predictor
from segmenter.inference.resizing import resized_size
from segmenter.inference.windows import window_grid
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.recipe import Recipe, read_recipe
from segmenter.training.prepare import build_model
from segmenter.training.sizes import choose_sizes

_PATCH = 14
_ITERATIONS = 300
_TILES = 3
"""Rows and columns of images in a mosaic."""
_FACTORS = {"as it is": 1.0, "shrunk": 0.5, "enlarged": 3.0}
SETS = (*_FACTORS, "mosaics")
RARE = ("pole", "sign", "pedestrian", "bicyclist")


def main() -> None:
    """Train and score each arm on each set, and add the results to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the CamVid folder; see docs/how-to/camvid.md")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--arms", nargs="+", default=["560", "auto"], help="short sides, or auto")
    parser.add_argument("--train", type=int, default=27, help="images to fit the decoder to")
    parser.add_argument("--test", type=int, default=27, help="images that are scored")
    parser.add_argument("--steps", type=int, help="updates; none: only the decoder is fitted")
    parser.add_argument("--batch-size", type=int, default=2, help="crops in an update")
    parser.add_argument("--crop", type=int, help="side of all crops; none: as the recipe chooses")
    parser.add_argument("--runs", type=Path, default=Path("runs/sizes"), help="sets and models")
    parser.add_argument("--out", type=Path, default=Path("sizes.json"))
    given = parser.parse_args()
    counts = {"train": given.train, "test": given.test}
    for name in given.sets:
        root = given.runs / f"{name.replace(' ', '-')}-{given.train}-{given.test}"
        if not root.exists():
            make_set(given.data, root, name, counts)
        for arm in given.arms:
            done = {(each["set"], each["arm"]) for each in load(given.out, [])}
            if (name, arm) not in done:
                add(given.out, run_arm(root, name, arm, given))


def make_set(data: Path, root: Path, name: str, counts: dict[str, int]) -> None:
    """Write one of the sets, from images spread evenly over the splits of CamVid."""
    source = open_folder(data)
    for split, count in counts.items():
        items = source.items(split)
        chosen = [items[number * len(items) // count] for number in range(count)]
        groups = [[each] for each in chosen]
        if name == "mosaics":
            groups = [chosen[first : first + _TILES**2] for first in range(0, count, _TILES**2)]
        for number, group in enumerate(groups):
            pixels, labels = (joined(paths) for paths in zip(*map(paths_of, group), strict=True))
            if name in _FACTORS and _FACTORS[name] != 1:
                factor = _FACTORS[name]
                way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
                pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=way)
                labels = cv2.resize(
                    labels, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST
                )
            for kind, content in (("images", pixels), ("masks", labels)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / kind / split / f"{number:03}.png"), np.asarray(content))
    shutil.copy(data / "classes.yaml", root)


def paths_of(item: Item) -> tuple[Path, Path]:
    """Return the files of an image and of its mask."""
    assert item.mask is not None
    return item.image, item.mask


def joined(paths: Sequence[Path]) -> np.ndarray:
    """Read one image, or a square of several."""
    read = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
    images = [image for image in read if image is not None]
    if len(images) == 1:
        return images[0]
    rows = [images[first : first + _TILES] for first in range(0, _TILES**2, _TILES)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def run_arm(root: Path, name: str, arm: str, given: argparse.Namespace) -> dict[str, Any]:
    """Fit a decoder, or train, at the sizes of one arm, and score the model."""
    data, begin = open_folder(root), time.perf_counter()
    recipe, reason = sizes_of(data, arm, given.crop)
    if given.steps:
        model = trained(root, recipe, given, root.with_name(f"{root.name}-{arm}"))
    else:
        model = build_model(recipe, data.classes, None, print)
        fit_decoder(model, data)
    fitted = time.perf_counter()
    found = evaluate(Predictor(model, precision="bfloat16"), data.items("test"), data.classes)
    ious = {each.name: each.iou for each in found.scores.classes}
    protocol = model.spec.protocol
    result = {
        "set": name,
        "arm": arm,
        "reason": reason,
        "steps": given.steps,
        "batch_size": given.batch_size if given.steps else None,
        "crop": recipe.augment.crop_size,
        "short_side": protocol.short_side,
        "window": protocol.window,
        "stride": protocol.stride,
        "images": {split: len(data.items(split)) for split in ("train", "test")},
        "precision": "bfloat16",
        "miou": found.scores.miou,
        "interval": found.intervals and list(found.intervals.means["miou"] or []),
        "rare": float(np.mean([ious[each] or 0.0 for each in RARE])),
        "ious": ious,
        "seconds": {
            "fitting": round(fitted - begin),
            "scoring": round(time.perf_counter() - fitted),
        },
    }
    print({key: result[key] for key in ("set", "arm", "short_side", "miou", "rare")}, flush=True)
    return result


def sizes_of(data: LabelledFolder, arm: str, crop: int | None) -> tuple[Recipe, str]:
    """Return the recipe `finetune` with the sizes of an arm, and why it has them."""
    changes: dict[str, Any] = {"data": {"root": str(data.root)}}
    if crop is not None:
        changes["augment"] = {"crop_size": crop}
    if arm != "auto":
        whole = {"window": None, "stride": None} if int(arm) <= 560 + _PATCH else {}
        changes["protocol"] = {"short_side": int(arm), **whole}
    recipe = read_recipe("finetune", changes)
    sizes = read_training_data(data, data.items("train"), ()).sizes
    return choose_sizes(recipe, sizes, data.classes.names, _PATCH)


def trained(root: Path, recipe: Recipe, given: argparse.Namespace, run: Path) -> Segmenter:
    """Train the recipe `finetune` at the sizes of an arm, or resume, and return the model."""
    last = run / "last.safetensors"
    if not last.exists():
        segmenter.train(
            data={"root": str(root), "val": None},
            out=run,
            protocol=recipe.protocol.model_dump(include={"short_side", "window", "stride"}),
            augment=recipe.augment.model_dump(include={"crop_size", "scale_base"}),
            schedule={"steps": given.steps, "warmup_steps": given.steps // 10},
            batch_size=given.batch_size,
            save_every=20,
            workers=1,
            resume=(run / "checkpoints").exists(),
        )
    return load_model(last)


def fit_decoder(model: Segmenter, data: LabelledFolder) -> None:
    """Fit the linear decoder to the features of all training images, by full batches of Adam."""
    parts = [
        part
        for item in data.items("train")
        for part in patches(model, read_sample(item, data.classes))
    ]
    features = torch.cat([part[0] for part in parts])
    counts = torch.cat([part[1] for part in parts])
    mean, std = features.mean(0), features.std(0) + 1e-6
    features = (features - mean) / std
    weights = torch.zeros(counts.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(counts.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=0.01)
    for _ in range(_ITERATIONS):
        log_shares = F.log_softmax(F.linear(features, weights, bias), dim=1)
        loss = -(counts * log_shares).sum() / counts.sum() + 1e-4 * weights.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        project = model.get_submodule("decoder.project")
        assert isinstance(project, nn.Linear)
        project.weight.copy_(weights / std)
        project.bias.copy_(bias - F.linear(mean / std, weights))


@torch.no_grad()
def patches(
    model: Segmenter, sample: Sample
) -> Iterator[tuple[Float[Tensor, "patches dim"], Float[Tensor, "patches classes"]]]:
    """Yield the features of the patches of each window, and the pixels of each class in them."""
    protocol: EvaluationProtocol = model.spec.protocol
    size = resized_size(sample.labels.shape, protocol)
    image = cv2.resize(sample.image, size[::-1], interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(sample.labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    side, num_classes = protocol.window or max(size), len(model.spec.classes)
    grid = window_grid(size, side, protocol.stride or side)
    for top in grid.rows:
        for left in grid.columns:
            rows, columns = slice(top, top + grid.height), slice(left, left + grid.width)
            pixels = torch.from_numpy(image[rows, columns].copy()).permute(2, 0, 1)[None].float()
            with torch.autocast("cpu", torch.bfloat16):
                features, _ = model.encode(model.pad(model.normalize(pixels)))
            inside = torch.from_numpy(labels[rows, columns].astype(np.int64))
            padded = F.pad(
                inside, (0, -inside.shape[1] % _PATCH, 0, -inside.shape[0] % _PATCH), value=255
            )
            known = torch.where(padded < num_classes, padded, num_classes)
            shares = F.one_hot(known, num_classes + 1)[..., :num_classes].permute(2, 0, 1).float()
            counts = F.avg_pool2d(shares, _PATCH).flatten(1).T
            yield features[0].float(), counts


def add(path: Path, result: dict[str, Any]) -> None:
    """Add a result to a file of results."""
    save(path, [*load(path, []), result], precision=str(result["precision"]))


if __name__ == "__main__":
    main()
