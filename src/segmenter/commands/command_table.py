"""The commands of `segmenter`, as its overview and the end of each command's help show them."""

from typing import NamedTuple

_DONE = "Exit status: 0, done; 2, refused, and one line says why"
_SOME_FAILED = f"{_DONE}; 3, some files could not be read, and the others are done"


class Command(NamedTuple):
    """A command."""

    where: str
    """Its function, which is imported when the command is used."""
    help: str
    """The first paragraph is shown in the overview."""
    examples: tuple[str, ...]
    """Arguments that may follow `segmenter NAME`."""
    statuses: str = _DONE

    def epilogue(self, name: str) -> str:
        """Return what ends the help of the command."""
        lines = [f"    segmenter {name} {each}".rstrip() for each in self.examples]
        return "\n".join((f"{self.statuses}.", "", *lines))


USE = {
    "predict": Command(
        "predict",
        "Label every pixel of images and videos: overlays, colour maps, and the raw labels.",
        ("photos --out labels", "film.mp4 --model street-tiny"),
        _SOME_FAILED,
    ),
    "evaluate": Command(
        "evaluate",
        "Evaluate a model on labelled images: mIoU, accuracy, Dice, and confidence intervals.",
        ("street data/camvid", "street data/camvid --report report"),
    ),
    "compare": Command(
        "compare",
        "Compare two models on the same labelled images, with an interval of the difference.",
        ("street street-tiny data/camvid --report report",),
    ),
    "benchmark": Command(
        "benchmark",
        "Measure the speed of a model on this machine: the time of each step, and the share of the "
        "peak rate that it reaches.",
        ("street --size 720 960",),
    ),
    "explain": Command(
        "explain",
        "Show what a model looks at in an image: the attention of every block and head, as one "
        "page.",
        ("photo.jpg --class car",),
    ),
}
TRAIN = {
    "train": Command(
        "train",
        "Train a model from a recipe, or just from a folder of images and masks.\n\n"
        "Any field of the recipe can be given as `--SECTION.FIELD VALUE`, such as "
        "`--schedule.steps 2000` or `--batch_size 4`; `segmenter recipes NAME` prints them.",
        ("--data FOLDER", "ade20k-segmenter-s-mask --device cuda --batch_size 4"),
        f"{_DONE}; 143, stopped by a signal, and everything is saved",
    ),
    "fit": Command(
        "fit",
        "Fit a decoder on a frozen encoder to a few masks, whole or partial, in seconds.\n\n"
        "The command estimates the score on new images by cross-validation, and names the class "
        "that needs labels most (docs/how-to/fit.md).",
        ("FOLDER --out model.safetensors",),
    ),
    "recipes": Command(
        "recipes", "List the packaged recipes, or print one.", ("", "finetune > mine.yaml")
    ),
    "prune": Command(
        "prune",
        "Make a trained model smaller and faster in minutes, with images without labels.\n\n"
        "Whole blocks of the encoder are removed, and the least important channels of the others. "
        "The rest is fitted to the output of the whole model on these images "
        "(docs/how-to/pruning.md).",
        ("street photos --depth 8 --out small.safetensors",),
    ),
}
DATA = {
    "suggest": Command(
        "suggest",
        "Rank the images to label next: those where a model is unsure, and that differ from "
        "labelled ones.",
        ("FOLDER --model MODEL", "FOLDER --model MODEL --report next --json next.json"),
    ),
    "label": Command(
        "label",
        "Paint masks in the browser, with proposals that learn from every stroke.\n\n"
        "The folder becomes a data set: images, masks and classes.yaml (docs/how-to/label.md).",
        ("FOLDER", "FOLDER --model street"),
    ),
    "check": Command(
        "check",
        "Check a data set: list errors and warnings in images, masks and classes.",
        ("FOLDER --report report", "FOLDER --doubts --report report"),
        f"{_DONE}; 3, the data set has errors or warnings",
    ),
    "prepare": Command(
        "prepare",
        "Make a data set from an annotation tool's export, maps, or published archives.\n\n"
        "An export is COCO, YOLO, labelme, CVAT, Label Studio, Pascal VOC, Supervisely, Roboflow, "
        "Datumaro or Darwin; its shapes are painted into masks in a new folder "
        "(docs/how-to/prepare.md).",
        (
            "coco export.json data/mine --images photos",
            "cvat job.zip data/mine --unlabelled background",
            "ade20k data --download",
        ),
        f"{_DONE}; 3, a published data set is not complete",
    ),
}
SHARE = {
    "export": Command(
        "export",
        "Export a model to ONNX, OpenVINO, Triton or a web page, and compare it with torch.",
        ("street street.onnx", "street site --format web --onnxruntime-web FILE.tgz"),
    ),
    "serve": Command(
        "serve",
        "Serve a model over HTTP: POST /segment, the Open Inference Protocol, and /metrics.\n\n"
        "If the environment variable SEGMENTER_TOKEN is set, requests need it as a bearer token.",
        ("street --port 8000",),
    ),
    "convert": Command(
        "convert",
        "Convert a checkpoint of another code base to a model file, or its config to a recipe.",
        ("model.pdparams model.safetensors", "segmenter.yml mine.yaml --gpus 4"),
    ),
    "models": Command(
        "share:models",
        "List the models available offline: bundled models and encoders, and the hub's cache.",
        ("",),
    ),
    "card": Command(
        "share:card",
        "Print the card of a model as Markdown, from the scores, classes and recipe in its file.",
        ("street > README.md",),
    ),
    "push": Command(
        "share:push",
        "Upload a model and its card to the Hugging Face Hub.\n\n"
        "A new repository is private. The token is that of `hf auth login`, or HF_TOKEN.",
        ("model.safetensors hf:owner/name",),
    ),
}
GROUPS = {"Use a model": USE, "Train": TRAIN, "Data": DATA, "Share and deploy": SHARE}

RENAMED = {
    "--merge-tokens": "--merge-threshold",
    "--decode": "--label-rule",
    "train --shard": "--fsdp",
    "train --no-shard": "--no-fsdp",
    "predict --shard": "--part",
    "predict --shards": "--parts",
    "benchmark --photo": "--image",
    "prepare --folder": "--source",
    "prune --max-photos": "--max-images",
}
"""Flags of 0.1.0, in all commands or in one, and what they are called now."""
