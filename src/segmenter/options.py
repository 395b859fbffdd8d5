"""The options of all commands, one frozen dataclass per concern.

The command line makes a flag of each field and shows its docstring as help; the object itself is
passed down to the code that acts on it. Choices that come from a table (runtimes, precisions,
benchmarks) are added where the flags are made, in `commands/`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

LabelRule = Literal["argmax", "iou", "dice"]
"""Rule by which probabilities become labels: the most probable class at each pixel, or those of an
image with the highest expected mean IoU or Dice."""
Ids = Literal["index", "source"]
VideoOutput = Literal["overlay", "labels"]
CameraFormat = Literal["v4l2", "matroska", "mpegts", "mjpeg"]
GraphOutput = Literal["logits", "labels"]
Unlabelled = Literal["background", "ignore"]
Outlines = Literal["edges", "centres"]
Palette = Literal["classes", "distinct"]
Symmetry = Literal["none", "mirror", "flips", "d4"]

AUTO_DEVICE = "auto"

DEFAULT_RECIPE = "finetune"
"""Packaged recipe of a run that names none."""
DEFAULT_START = "dinov2-small"
"""Encoder that a fit starts from where none is named."""
DEFAULT_FPS = 25.0
"""Frames a second of an image sequence, which does not store it."""
DEFAULT_VIDEO: VideoOutput = "overlay"
DEFAULT_THRESHOLD = 0.5
"""Probability from which a model of one class labels a pixel with it."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Device to compute on."""

    device: str = AUTO_DEVICE
    """Device: auto, a GPU if one is found (CUDA, then MPS), else the CPU; or `cpu`, `cuda`,
    `cuda:1`, `mps`."""


@dataclass(frozen=True, kw_only=True)
class Compute(Device):
    """Device, runtime and arithmetic that compute a model."""

    runtime: str | None = None
    """Runtime; auto is the fastest that is installed. [default: auto; torch for scores]"""
    precision: str | None = None
    """Arithmetic: float32 has the published numerics, bfloat16 is faster where the hardware has
    it, auto uses bfloat16 there. [default: auto; float32 for scores]"""
    merge_threshold: float | None = None
    """Merge tokens whose cosine is above this, such as 0.8: faster, for nearly the same labels;
    at 1, none are merged. Needs torch; `--runtime auto` then selects it."""

    def for_scores(self, *, is_exported: bool) -> "Compute":
        """Fill in what keeps a score from depending on the machine and on what is installed."""
        runtime = "auto" if is_exported else "torch"
        return replace(self, runtime=self.runtime or runtime, precision=self.precision or "float32")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Probability from which on a pixel has the class, for models of one class."""

    threshold: float | None = None
    """For models of one class: assign the class where its probability is at least this.
    [default: 0.5]"""


@dataclass(frozen=True, kw_only=True)
class Orientations:
    """Flipped and turned images to average over."""

    symmetry: Symmetry | None = None
    """Average over flipped and turned images: mirror, left to right; flips, of both axes; d4, flips
    and quarter turns, for images without an up. [default: as the model's evaluation protocol says]
    """

    def orientations(self) -> dict[str, Any]:
        """Return the fields of the evaluation protocol to change, and their values."""
        return {} if self.symmetry is None else {"symmetry": self.symmetry}


@dataclass(frozen=True, kw_only=True)
class ServedLabels(Orientations, Threshold):
    """Rules by which a service chooses the labels of an image."""


@dataclass(frozen=True, kw_only=True)
class Labelling(Orientations, Threshold):
    """Rules by which the labels of an image are chosen."""

    flip: bool | None = None
    """Average with the mirrored image; the same as `--symmetry mirror`. [default: as the model's
    evaluation protocol says]"""
    label_rule: LabelRule = "argmax"
    """Rule of the labels: argmax, the most probable class at each pixel; iou or dice, the labels
    with the highest expected mean IoU or Dice over the classes of an image."""

    def orientations(self) -> dict[str, Any]:
        """Return the fields of the evaluation protocol to change, and their values."""
        return super().orientations() | ({} if self.flip is None else {"flip": self.flip})


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Sliding window of a checkpoint that does not state it."""

    window: int | None = None
    """Side of the sliding window that the checkpoint was trained for, in pixels. EoMT with DINOv3
    and PMT take it without --stride."""
    stride: int | None = None
    """Distance of neighbouring windows that it was evaluated with, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes and windows in which an image is shown to the model."""

    window: int | None = None
    """Side of the sliding window, in pixels; 0: the whole image at once. [default: as the model's
    evaluation protocol says]"""
    stride: int | None = None
    """Distance of neighbouring windows, in pixels. [default: as the protocol says; at
    most the window]"""
    short_side: int | None = None
    """Resize images to this short side first; 0: do not resize. [default: as the protocol says]"""
    scales: tuple[float, ...] | None = None
    """Average over these sizes, such as `--scales 0.75 1 1.25`. [default: as the protocol says]"""

    def changes(self) -> dict[str, Any]:
        """Return the fields of the evaluation protocol to change, and their values."""
        fields = {name: getattr(self, name) for name in ("short_side", "window", "stride")}
        given = {name: value for name, value in fields.items() if value is not None}
        if self.scales is not None:
            given["scales"] = self.scales
        if self.window == 0:
            given = {"stride": None} | given | {"window": None}
        if self.short_side == 0:
            given["short_side"] = None
        return given


@dataclass(frozen=True, kw_only=True)
class Views(Sizes):
    """Evaluation protocol: a published one, and changes to its fields."""

    protocol: str | None = None
    """Evaluate as a published code base does: segmenter, segmenter-miou, mmseg, paddleseg, eomt.
    [default: as the model itself says]"""
    whole: bool = False
    """Feed each image as a whole, without windows; the same as `--window 0`."""

    def changes(self) -> dict[str, Any]:
        """Return the fields of the protocol to change, and their values."""
        given = super().changes()
        return {"stride": None} | given | {"window": None} if self.whole else given


@dataclass(frozen=True, kw_only=True)
class ClassesFile:
    """File to read classes from."""

    classes: Path | None = None
    """File in the format of `classes.yaml`, for data or checkpoints without one or with another."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Patterns that pair images and masks."""

    images: str | None = None
    """Pattern of the images in the data set, such as `img/{}.jpg`, where `{}` is what the names of
    image and mask share. [default: found from the names of folders and files]"""
    masks: str | None = None
    """Pattern of their masks, such as `labels/{}_mask.png`; only together with --images."""
    pairing_note: bool = True
    """Report the rule that pairs images and masks, if it differs from equal names in `images` and
    `masks`."""

    def pattern_flags(self) -> tuple[str, ...]:
        """Return the words of a command that name the patterns; empty without patterns."""
        patterns = {"--images": self.images, "--masks": self.masks}
        return tuple(word for flag in patterns.items() if flag[1] for word in flag if word)


@dataclass(frozen=True, kw_only=True)
class Data(Pairs, ClassesFile):
    """Labelled images of a data set to use."""

    split: str | None = None
    """Split of the data set to use. [default: test, or all where there is one split; val for a
    published data set]"""


@dataclass(frozen=True, kw_only=True)
class ScoredData(Data):
    """Labelled images to score, and the values of saved label maps."""

    ids: Ids | None = None
    """Values of label maps, if a folder of them is evaluated in place of a model: class indices, or
    the mask values of `classes.yaml`. [default: index]"""


@dataclass(frozen=True, kw_only=True)
class ExtraMetrics:
    """Metrics besides IoU, Dice and accuracy."""

    statistics: bool = False
    """Also report boundary IoU, IoU by object size, calibration, and risk against coverage; for
    models of one class also the scores at each threshold."""
    boundary_ratio: float | None = None
    """Width of boundary regions as a share of the image's diagonal; implies --statistics.
    [default: 0.02]"""
    temperature_split: str | None = None
    """Fit a calibration temperature on this split and report calibration with and without it;
    implies --statistics."""

    @property
    def is_wanted(self) -> bool:
        """True if any of these metrics is asked for."""
        return self.statistics or self.boundary_ratio is not None or bool(self.temperature_split)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Permission to replace files."""

    overwrite: bool = False
    """Replace existing files, including those that this command did not write."""


@dataclass(frozen=True, kw_only=True)
class DrawnOutput(Output):
    """Colours of drawings."""

    palette: Palette = "classes"
    """Colours to draw with: those of the classes, or distinct ones, which differ
    for any colour vision."""


@dataclass(frozen=True, kw_only=True)
class Report(DrawnOutput):
    """Files and folders for results."""

    json: Path | None = None
    """File to write all measurements to, as JSON."""
    report: Path | None = None
    """Folder to write a page with tables and pictures to."""


@dataclass(frozen=True, kw_only=True)
class ImageOutput(DrawnOutput):
    """Files to write for each image."""

    out: Path = Path("predictions")
    """Folder to write to."""
    save: str | None = None
    """Files to write, comma-separated: overlay, label (these two by default), color, probabilities,
    margins, labelme, coco, coco-polygons, cvat, label-studio. For maps: label (by default),
    confidence, probabilities, gpkg, geojson."""
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
    """Reading and writing of videos."""

    video: VideoOutput | None = None
    """Output for a video: a video of overlays, or the label map of each frame.
    [default: overlay]"""
    fps: float | None = None
    """Frames a second of an image sequence such as `shots/frame-%04d.png`. [default: 25]"""
    camera_format: CameraFormat | None = None
    """Format of a camera or pipe. [default: v4l2 for devices, detected for pipes]"""


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """Files that are written for maps (GeoTIFF)."""

    cog: bool = False
    """Write rasters as cloud-optimised GeoTIFFs, with overviews."""
    min_area: float = 0.0
    """Join regions below this area, in square metres, to their largest neighbour before polygons
    are drawn."""
    simplify: float = 0.0
    """Simplify polygons by this tolerance, in pixels; 1.5 removes most steps of pixels. Neighbours
    keep their common borders."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Part of a large batch to predict."""

    parts: int | None = None
    """Split a large batch into this many parts, by file name, and record what is done, so that the
    same command resumes where it was stopped."""
    part: int | None = None
    """Predict only this part, counted from 1; other processes or machines take the others."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Everything that `predict` accepts besides images and a model."""

    output: ImageOutput = ImageOutput()
    sizes: Sizes = Sizes()
    labelling: Labelling = Labelling()
    compute: Compute = Compute()
    video: VideoOptions = VideoOptions()
    parts: Parts = Parts()
    maps: MapOptions = MapOptions()
    image_bits: int | None = None
    """See `predict --help`."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Folder of a run, and whether to resume it."""

    out: Path | None = None
    """Folder to write to. [default: `runs/` and the recipe's name; a second run's ends in `-2`]"""
    resume: bool = False
    """Resume from the newest checkpoint in the folder of the run, with the recipe in it; without
    --out, of the newest run."""
    allow_config_change: bool = False
    """Resume even though the recipe or the data changed."""
    print_recipe: bool = False
    """Print the whole recipe before the first step; it is in the folder of the run as well."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Computation of a training run; its results stay the same but for rounding."""

    fsdp: bool = False
    """Keep a part of the weights in each process (fully_shard), for large models."""
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time; slower on a GPU."""


@dataclass(frozen=True, kw_only=True)
class SmallerModel:
    """Size of a pruned model, and the images to prune it by."""

    depth: int | None = None
    """Number of blocks to keep; the command selects them."""
    blocks: list[int] | None = None
    """Blocks to keep, counted from 0, such as `--blocks 0 1 3 5 8`; block 0 must be kept."""
    mlp_ratio: float | None = None
    """Hidden channels of each MLP relative to the width, 4 in most models. [default: unchanged]"""
    max_images: int = 40
    """Number of images to use, spread evenly over those given."""


@dataclass(frozen=True, kw_only=True)
class Hardware(Device):
    """Devices that compute a training run."""

    devices: int | None = None
    """Processes on this machine, each with a share of the batch: one for each GPU if there are any,
    else on the CPU. Start with torchrun for several machines. [default: 1]"""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Rules by which an export of an annotation tool becomes a data set."""

    images: Path | None = None
    """Folder of the images. [default: found in SOURCE]"""
    unlabelled: Unlabelled | None = None
    """Meaning of pixels without a shape: background, a class, or ignore, left out of training and
    scores. [default: refused if there are any]"""
    outlines: Outlines = "edges"
    """Meaning of coordinates of polygons: edges of pixels, as in COCO, or centres, as OpenCV's
    contours have them. labelme and Supervisely always have centres."""


@dataclass(frozen=True, kw_only=True)
class MapWindows(ClassesFile):
    """Labels of maps, and the tiles that become a data set."""

    labels: Path | None = None
    """Labels of the maps: a vector file or mask raster, or a folder with one for each map.
    [default: the folder labels or masks in SOURCE]"""
    field: str | None = None
    """Field of the vector files that holds the class. [default: class, or the only one]"""
    tile: int = 512
    """Side of the images to cut, in pixels."""
    block: int = 4
    """Side of the areas that go to one split as a whole, in tiles."""
    val_share: float = 0.2
    """Share of the tiles to score on."""
    min_labelled: float = 0.05
    """Smallest share of labelled pixels in a tile."""
    max_tiles: int | None = None
    """Largest number of tiles, spread evenly over the areas. [default: all]"""


@dataclass(frozen=True, kw_only=True)
class BandChoice:
    """Bands of image files that are used."""

    bands: tuple[int, ...] | Literal["all"] | None = None
    """Bands of the image files to use, from 1 and in this order, such as `--bands 4 3 2`; all:
    every band in its own type. [default: RGB of 8 bits where the files are that, else all]"""


@dataclass(frozen=True, kw_only=True)
class FitData(BandChoice, Pairs, ClassesFile):
    """Which labelled images of a data set a decoder is fitted to."""

    split: str | None = None
    """Split to fit to. [default: train, or all images if there is one split or none is named]"""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The fit of a decoder."""

    short_side: int | None = None
    """Short side to which images are resized, in pixels. [default: chosen from the images and
    masks]"""
    shifts: Literal[1, 2, 4] = 1
    """Shifted views of the image along each axis: tokens are as many times finer than a patch.
    Helps where objects are thinner than a patch. The encoder runs `shifts` x `shifts` times on each
    image, in the fit and wherever the model is used."""
    minutes: float | None = None
    """Minutes to train the encoder too, after the fit. The result is kept if it
    scores higher on held-out images. [default: the encoder stays frozen]"""


@dataclass(frozen=True, kw_only=True)
class FitOutput(Output):
    """Where the results of a fit are written."""

    json: Path | None = None
    """File to write all measurements to, as JSON."""


@dataclass(frozen=True, kw_only=True)
class SuggestOutput(FitOutput):
    """Where the images to label next are listed."""

    report: Path | None = None
    """Folder to write a page with tables and pictures to."""
