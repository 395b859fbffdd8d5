"""Which head, and which loss, for one or two classes: short runs on CamVid, as one Markdown table.

    python benchmarks/two_classes.py data/camvid dinov2-small

Two tasks are made from CamVid's 11 classes: road against all (a third of the pixels) and
pedestrian against all (a rare class). Every run starts from the same encoder, of which only the
last blocks are trained, sees the same images and crops (but for the runs that choose crops), and
is scored on the same test images, spread evenly over the split. The runs are short: they rank
choices, they do not say how good a model gets. docs/how-to/imbalance.md holds the table.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from segmenter.classes import Classes
from segmenter.data.folder import Item, open_folder
from segmenter.data.loading import make_loader
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.metrics import ClassScores
from segmenter.extras.checking.before_training import TrainingData, read_training_data
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.recipe import Recipe, make_recipe
from segmenter.training.optimizer import freeze, learning_rate, make_optimizer, set_learning_rate
from segmenter.training.parallel import DistributedModel
from segmenter.training.prepare import build_loss, build_model, build_stream
from segmenter.training.step import train_step

_PATCH = 14


class Setting(NamedTuple):
    """One row of the table: what differs from the common recipe."""

    task: str
    head: str
    loss_name: str
    num_classes: int
    model: dict[str, Any]
    loss: dict[str, Any]
    augment: dict[str, Any]


_LAYER = {"decoder": {"kind": "mask", "class_norm": "layer"}}
_SCALE = {"decoder": {"kind": "mask", "class_norm": "scale"}}
_LINEAR = {"decoder": "linear"}
SETTINGS = [
    Setting(task, head, "cross entropy", num_classes, model, {}, {})
    for task in ("road", "pedestrian")
    for head, num_classes, model in (
        ("mask, layer", 2, _LAYER),
        ("mask, scale", 2, _SCALE),
        ("mask, scale, sigmoid", 1, _SCALE),
        ("linear", 2, _LINEAR),
    )
] + [
    Setting("pedestrian", "mask, scale", name, 2, _SCALE, loss, augment)
    for name, loss, augment in (
        ("focal, gamma 2", {"focal": 2.0}, {}),
        ("cross entropy + Dice", {"dice": 1.0}, {}),
        ("class weights, inverse-root", {"class_weights": "inverse-root"}, {}),
        ("cross entropy, half the crops on it", {}, {"rare_class_crops": 0.5}),
    )
]


def main() -> None:
    """Train and score every setting; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="the CamVid folder; see docs/how-to/camvid.md")
    parser.add_argument("weights", help="DINOv2 ViT-S/14")
    parser.add_argument("--steps", type=int, default=60, help="updates of each run")
    parser.add_argument("--batch-size", type=int, default=4, help="crops in an update")
    parser.add_argument("--crop", type=int, default=16 * _PATCH, help="side of a crop")
    parser.add_argument("--photos", type=int, default=32, help="test images that are scored")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each setting")
    parser.add_argument("--task", choices=["road", "pedestrian"], help="only this one")
    given = parser.parse_args()
    settings = [each for each in SETTINGS if given.task in {None, each.task}]

    data = open_folder(Path(given.data))
    items, test = data.items("train"), data.items("test")
    scored = [test[number * len(test) // given.photos] for number in range(given.photos)]
    read = {
        task: read_training_data(
            replace(data, classes=task_classes(given.data, task, 2)), items, (), workers=2
        )
        for task in dict.fromkeys(setting.task for setting in settings)
    }
    print(
        f"{given.steps} steps of {given.batch_size} crops of {given.crop}, {given.seeds} seed(s), "
        f"{len(scored)} test images.\n"
    )
    print("| task | head | loss | IoU | precision | recall | seconds |")
    print("|---|---|---|---|---|---|---|")
    for setting in settings:
        start = time.perf_counter()
        classes = task_classes(given.data, setting.task, setting.num_classes)
        found = []
        for seed in range(given.seeds):
            recipe = run_recipe(setting, given, seed)
            model = train(recipe, classes, items, read[setting.task])
            found.append(score(model, recipe, scored, classes))
        seconds = (time.perf_counter() - start) / given.seeds
        print(table_row(setting, found, seconds), flush=True)
        print(f"{setting.task}, {setting.head}, {setting.loss_name}: done", file=sys.stderr)


def task_classes(data: str, name: str, num_classes: int) -> Classes:
    """One class of CamVid against all others: with a background, or as two classes."""
    given = open_folder(Path(data)).classes
    wanted = next(info for info in given.classes if info.name == name)
    rest = [value for info in given.classes if info.name != name for value in info.values]
    fields: dict[str, Any] = {"ignore": given.ignore}
    if num_classes == 1:
        fields |= {"classes": [wanted], "background": rest}
    else:
        other = {"name": "background", "color": (0, 0, 0), "values": rest}
        fields["classes"] = [other, wanted]
    return Classes.model_validate(fields)


def run_recipe(setting: Setting, given: argparse.Namespace, seed: int) -> Recipe:
    """The recipe of one run."""
    content = {
        "name": "two-classes",
        "model": {
            "encoder": "vit_small_patch14_dinov2",
            "weights": given.weights,
            "drop_path": 0.0,
            **setting.model,
        },
        "data": {"root": given.data, "val": None},
        "augment": {"crop_size": given.crop, "scale": [0.75, 1.5], **setting.augment},
        "loss": setting.loss,
        "optimizer": {
            "name": "adamw",
            "lr": 3e-4,
            "decoder_lr_factor": 5.0,
            "layer_decay": 0.8,
            "frozen_blocks": 8,
            "weight_decay": 0.05,
            "clip_grad_norm": 3.0,
        },
        "schedule": {"steps": given.steps, "warmup_steps": given.steps // 10},
        "batch_size": given.batch_size,
        "precision": "bfloat16",
        "seed": seed,
    }
    return make_recipe(content, "the benchmark's recipe")


def train(
    recipe: Recipe, classes: Classes, items: Sequence[Item], found: TrainingData
) -> Segmenter:
    """The training loop without logs, checkpoints and scores."""
    model = build_model(recipe, classes, None, lambda _: None).train()
    stream = build_stream(recipe, model, tuple(items), found.pixel_counts)
    loss = build_loss(recipe, classes, found.pixel_counts)
    freeze(model, recipe.optimizer)
    optimizer = make_optimizer(model, recipe.optimizer)
    in_training = DistributedModel(model)
    stop = recipe.schedule.steps * recipe.batch_size
    batches = make_loader(stream, range(stop), recipe.batch_size, workers=1)
    for step, batch in enumerate(batches):
        rate = learning_rate(recipe.optimizer.lr, recipe.schedule, step)
        set_learning_rate(optimizer, rate)
        train_step(in_training, optimizer, batch, recipe, loss)
    return model


def score(model: Segmenter, recipe: Recipe, items: Sequence[Item], classes: Classes) -> ClassScores:
    """The scores of the wanted class; the other one's hide it."""
    predictor = Predictor(model, precision=recipe.precision)
    return evaluate(predictor, items, classes).scores.classes[1]


def table_row(setting: Setting, found: Sequence[ClassScores], seconds: float) -> str:
    """Means over the seeds; of several, the range of the IoU too."""
    ious, precisions, recalls = (
        [getattr(each, name) or 0.0 for each in found] for name in ("iou", "precision", "recall")
    )
    iou = f"{mean(ious):.3f}"
    if len(ious) > 1:
        iou += f" ({min(ious):.3f} to {max(ious):.3f})"
    return (
        f"| {setting.task} | {setting.head} | {setting.loss_name} | {iou} | "
        f"{mean(precisions):.3f} | {mean(recalls):.3f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
