"""Arguments of `segmenter evaluate`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from segmenter.commands.values import DONE, Decode, Precision, RuntimeName


def evaluate(
    model: str,
    data: str,
    *,
    split: str | None = None,
    json: Path | None = None,
    report: Path | None = None,
    statistics: bool = False,
    boundary_ratio: float | None = None,
    temperature_split: str | None = None,
    classes: Path | None = None,
    protocol: str | None = None,
    short_side: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    whole: bool = False,
    flip: bool | None = None,
    scales: Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True)] = None,
    decode: Decode = "argmax",
    merge_tokens: float | None = None,
    device: str = "cpu",
    runtime: RuntimeName | None = None,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> int:
    """Score a model on labelled images: mIoU and friends.

    Args:
        model: A bundled name, a model file, hf:owner/name, or an exported one.
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one (`segmenter prepare --help` names them).
        split: Which images of the folder; without it, `test`, or all where there is one split, or
            `val` of a published data set.
        json: File for all numbers.
        report: Folder for a page with tables, the confusion matrix, best and worst images.
        statistics: Count more, which takes longer: boundary IoU, IoU by object size, calibration,
            risk against coverage. So do the next two flags.
        boundary_ratio: Width of boundary regions, as a share of the diagonal; without it, 0.02.
        temperature_split: Another split to fit a temperature on, to tell calibration with it too.
        classes: A `classes.yaml` other than the one in the folder.
        protocol: Score as a published code base does: segmenter, segmenter-miou, mmseg, paddleseg;
            without it, as the model's own spec says. The next six flags change single fields.
        short_side: Resize images to this short side first; 0: not at all.
        window: Side of the sliding window.
        stride: Distance of neighbouring windows.
        whole: Take each image as a whole, whatever the model's own way is.
        flip: Average with the mirrored image.
        scales: Average over these sizes, such as `--scales 0.75 1 1.25`.
        decode: Labels to give: the most probable class at each pixel, or those expected to have the
            highest mean IoU or Dice over the classes of an image.
        merge_tokens: Merge tokens whose cosine is above this, as for `predict`.
        device: Where to compute.
        runtime: What computes; without it, torch, so that a score does not depend on what is
            installed, or for an exported file what is.
        precision: Arithmetic; float32 is what published scores are made with.
        overwrite: Replace files that are there.
    """
    from segmenter.evaluation.evaluate_model import run_evaluation

    changes = {
        "short_side": short_side,
        "window": window,
        "stride": stride,
        "flip": flip,
        "scales": scales,
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if whole:
        given |= {"window": None, "stride": None}
    if short_side == 0:
        given["short_side"] = None
    run_evaluation(
        model,
        data,
        split=split,
        json_file=json,
        report_folder=report,
        statistics=statistics,
        boundary_ratio=boundary_ratio,
        temperature_split=temperature_split,
        classes_file=classes,
        protocol=protocol,
        protocol_changes=given,
        decode=decode,
        merge_tokens=merge_tokens,
        device=device,
        runtime=runtime,
        precision=precision,
        overwrite=overwrite,
    )
    return DONE
