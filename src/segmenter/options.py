"""The options of all commands, one frozen dataclass per concern.

The command line makes a flag of each field and shows its docstring as help; the object itself is
passed down to the code that acts on it. Choices that come from a table (runtimes, precisions,
benchmarks) are added where the flags are made, in `commands/`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

LabelRule = Literal["argmax", "iou", "dice"]
"""How probabilities become labels: the most probable class at each pixel, or the labels of an
image with the highest expected mean IoU or Dice."""
Ids = Literal["index", "source"]
VideoOutput = Literal["overlay", "labels"]
CameraFormat = Literal["v4l2", "matroska", "mpegts", "mjpeg"]
GraphOutput = Literal["logits", "labels"]

DEFAULT_FPS = 25.0
"""Frames a second of an image sequence, which does not store it."""
DEFAULT_VIDEO: VideoOutput = "overlay"


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where to compute."""

    device: str | None = None
    """Device: `cpu`, `cuda`, `cuda:1`, `mps`. [default: cpu; the GPUs for `train --devices`]"""


@dataclass(frozen=True, kw_only=True)
class Compute(Device):
    """How a model is computed."""

    runtime: str | None = None
    """Runtime; auto is the fastest that is installed. [default: auto; torch for scores]"""
    precision: str | None = None
    """Arithmetic: float32 has the published numerics, bfloat16 is faster where the hardware has
    it, auto takes it there. [default: auto; float32 for scores]"""
    merge_threshold: float | None = None
    """Merge tokens whose cosine is above this, such as 0.8: faster, for nearly the same labels;
    at 1, none are merged. Needs torch, which `--runtime auto` then means."""

    def for_scores(self, *, is_exported: bool) -> "Compute":
        """Fill in what keeps a score from depending on the machine and on what is installed."""
        runtime = "auto" if is_exported else "torch"
        return replace(self, runtime=self.runtime or runtime, precision=self.precision or "float32")


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How the labels of an image are chosen."""

    flip: bool | None = None
    """Average with the mirrored image. [default: as the model's evaluation protocol says]"""
    label_rule: LabelRule = "argmax"
    """Labels to give: argmax, the most probable class at each pixel; iou or dice, the labels with
    the highest expected mean IoU or Dice over the classes of an image."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How an image is cut into windows."""

    window: int | None = None
    """Side of the sliding window, in pixels."""
    stride: int | None = None
    """Distance of neighbouring windows, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Views(Windows):
    """Evaluation protocol: a published one, and changes to its fields."""

    protocol: str | None = None
    """Evaluate as a published code base does: segmenter, segmenter-miou, mmseg, paddleseg.
    [default: as the model itself says]"""
    short_side: int | None = None
    """Resize images to this short side first; 0: do not resize."""
    whole: bool = False
    """Feed each image as a whole, without windows."""
    scales: tuple[float, ...] | None = None
    """Average over these sizes, such as `--scales 0.75 1 1.25`."""

    def changes(self) -> dict[str, Any]:
        """Return the fields of the protocol to change, and their values."""
        fields = {name: getattr(self, name) for name in ("short_side", "window", "stride")}
        given = {name: value for name, value in fields.items() if value is not None}
        if self.scales is not None:
            given["scales"] = self.scales
        if self.whole:
            given |= {"window": None, "stride": None}
        if self.short_side == 0:
            given["short_side"] = None
        return given


@dataclass(frozen=True, kw_only=True)
class ClassesFile:
    """File to read classes from."""

    classes: Path | None = None
    """File in the form of `classes.yaml`, for data or a checkpoint that has none, or instead."""


@dataclass(frozen=True, kw_only=True)
class Data(ClassesFile):
    """Which labelled images of a data set to use."""

    split: str | None = None
    """Which images of the data set. [default: test, or all where there is one split; val for a
    published data set]"""


@dataclass(frozen=True, kw_only=True)
class ExtraMetrics:
    """Metrics besides IoU, Dice and accuracy."""

    statistics: bool = False
    """Also report boundary IoU, IoU by object size, calibration, and risk against coverage."""
    boundary_ratio: float | None = None
    """Width of boundary regions as a share of the image's diagonal; implies --statistics.
    [default: 0.02]"""
    temperature_split: str | None = None
    """Fit a calibration temperature on this split and report calibration with and without it;
    implies --statistics."""

    @property
    def is_wanted(self) -> bool:
        """Whether any of these metrics is asked for."""
        return self.statistics or self.boundary_ratio is not None or bool(self.temperature_split)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Which files may be replaced."""

    overwrite: bool = False
    """Replace files that are there, also those that no earlier run of this command wrote."""


@dataclass(frozen=True, kw_only=True)
class Report(Output):
    """Where results are written."""

    json: Path | None = None
    """File for everything that was measured."""
    report: Path | None = None
    """Folder for a page with tables and pictures."""


@dataclass(frozen=True, kw_only=True)
class ImageOutput(Output):
    """Which files are written for each image, and how."""

    out: Path = Path("predictions")
    """Folder to write to."""
    save: str | None = None
    """What to write, comma-separated: overlay, color, label (these three by default),
    probabilities, margins, labelme, coco, coco-polygons, cvat, label-studio."""
    opacity: float = 0.5
    """Opacity of the colours over the image, from 0 to 1."""
    ids: Ids = "index"
    """Values of label maps: class indices, or the mask values of `classes.yaml`."""
    gallery: bool = False
    """Also write `index.html`, a page with all images and overlays."""
    submission: str | None = None
    """Write only one PNG an image, with the ids that the server of this benchmark expects."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How videos are read and written."""

    video: VideoOutput | None = None
    """What to write for a video: a video of overlays, or the label map of each frame.
    [default: overlay]"""
    fps: float | None = None
    """Frames a second of an image sequence such as `shots/frame-%04d.png`. [default: 25]"""
    camera_format: CameraFormat | None = None
    """Format of a camera or pipe. [default: v4l2 for devices, detected for pipes]"""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Which part of a large batch to predict."""

    parts: int | None = None
    """Split a large batch into this many parts, by file name, and record what is done, so that the
    same command resumes where it was stopped."""
    part: int | None = None
    """Predict only this part, counted from 1; other processes or machines take the others."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a training run is computed; its results stay the same but for rounding."""

    fsdp: bool = False
    """Keep a part of the weights in each process (fully_shard), for large models."""
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time; slower on a GPU."""


@dataclass(frozen=True, kw_only=True)
class SmallerModel:
    """How a model is pruned."""

    depth: int | None = None
    """Number of blocks to keep; the command finds out which."""
    blocks: list[int] | None = None
    """Blocks to keep, counted from 0, such as `--blocks 0 1 3 5 8`; block 0 must be kept."""
    mlp_ratio: float | None = None
    """Hidden channels of each MLP relative to the width, 4 in most models. [default: unchanged]"""
    max_images: int = 40
    """Number of images to use, spread evenly over those given."""


@dataclass(frozen=True, kw_only=True)
class Hardware(Device):
    """Where a training run is computed."""

    devices: int | None = None
    """Processes on this machine, each with a share of the batch: one for each GPU if there are any,
    else on the CPU. Start with torchrun for several machines. [default: 1]"""
