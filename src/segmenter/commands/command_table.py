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
        "Compare two models on the same labelled images: is the difference more than chance?",
        ("street street-tiny data/camvid --report report",),
    ),
    "benchmark": Command(
        "benchmark",
        "Measure how fast a model labels an image here, where the time goes, and how far the limit "
        "is.",
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
        "Train a model from a recipe, or from a folder of images and masks alone.\n\n"
        "Any field of the recipe can be given as `--SECTION.FIELD VALUE`, such as "
        "`--schedule.steps 2000` or `--batch_size 4`; `segmenter recipes NAME` prints them.",
        ("--data FOLDER", "ade20k-segmenter-s-mask --device cuda --batch_size 4"),
        f"{_DONE}; 143, stopped by a signal, and everything is saved",
    ),
    "fit": Command(
        "fit",
        "Fit a decoder on a frozen encoder to a few masks, whole or partial, in seconds.\n\n"
        "It shows how well new images are labelled, by fits that each leave images out, and which "
        "class needs labels most (docs/how-to/fit.md).",
        ("FOLDER --out model.safetensors",),
    ),
    "recipes": Command(
        "recipes", "List the packaged recipes, or print one.", ("", "finetune > mine.yaml")
    ),
    "prune": Command(
        "prune",
        "Make a smaller, faster model out of a trained one, with images without labels, in "
        "minutes.\n\n"
        "Whole blocks of the encoder are removed, and the least important channels inside the "
        "others; the rest is fitted so that it does what the whole model does on these images "
        "(docs/how-to/pruning.md).",
        ("street photos --depth 8 --out small.safetensors",),
    ),
}
DATA = {
    "suggest": Command(
        "suggest",
        "List the images that are worth most to label next: where a model is unsure, and which are "
        "unlike those that are labelled.",
        ("FOLDER --model MODEL", "FOLDER --model MODEL --report next --json next.json"),
    ),
    "label": Command(
        "label",
        "Make masks on a page in the browser, with proposals that learn from every stroke.\n\n"
        "The folder becomes a data set: images, masks and classes.yaml (docs/how-to/label.md).",
        ("FOLDER", "FOLDER --model street"),
    ),
    "check": Command(
        "check",
        "Read a data set once and list what is wrong with it.",
        ("FOLDER --report report", "FOLDER --model street --report report"),
        f"{_DONE}; 3, something is wrong with the data set",
    ),
    "prepare": Command(
        "prepare",
        "Make a data set: of an annotation tool's export, or of a published one's archives.\n\n"
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
        "Write a model as a graph for other runtimes, any batch and size, and check it against "
        "torch.",
        ("street street.onnx", "street page --format web"),
    ),
    "serve": Command(
        "serve",
        "Label images over HTTP: POST /segment, the Open Inference Protocol, and /metrics.\n\n"
        "Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.",
        ("street --port 8000",),
    ),
    "convert": Command(
        "convert",
        "Turn a checkpoint of another code base into a model file, or its config into a recipe.",
        ("model.pdparams model.safetensors", "segmenter.yml mine.yaml --gpus 4"),
    ),
    "models": Command(
        "share:models",
        "List what needs no network: bundled models and encoders, and models in the hub's cache.",
        ("",),
    ),
    "card": Command(
        "share:card",
        "Print the card of a model: Markdown, from the scores, classes and recipe that it carries.",
        ("street > README.md",),
    ),
    "push": Command(
        "share:push",
        "Upload a model and its card to the Hugging Face Hub.\n\n"
        "A new repository is private. The token is the one of `hf auth login`, or HF_TOKEN.",
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
