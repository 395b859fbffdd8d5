"""Arguments of `segmenter compare`."""

from pathlib import Path

from segmenter.commands.values import DONE, Decode, Precision, RuntimeName


def compare(
    a: str,
    b: str,
    data: str,
    *,
    split: str | None = None,
    json: Path | None = None,
    report: Path | None = None,
    classes: Path | None = None,
    protocol: str | None = None,
    decode: tuple[Decode, Decode] = ("argmax", "argmax"),
    merge_tokens: tuple[float, float] | None = None,
    device: str = "cpu",
    runtime: RuntimeName | None = None,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> int:
    """Compare two models on the same labelled images: is the difference more than chance?

    Args:
        a: A bundled name, a model file, hf:owner/name, or an exported one.
        b: Another; differences are B less A.
        data: As for `evaluate`.
        split: Which images of the folder; as for `evaluate`.
        json: File for all numbers.
        report: Folder for a page with scores, classes, and the images on which they differ most.
        classes: A `classes.yaml` other than the one in the folder.
        protocol: Score both as a published code base does; without it, each as its own spec says.
        decode: Labels that A and B give, each as for `evaluate`, such as `--decode argmax iou`.
        merge_tokens: Thresholds of A and B, each as for `evaluate`; `--merge-tokens 1 0.8` shows
            what merging costs, as at 1 nothing is merged.
        device: Where to compute.
        runtime: What computes; as for `evaluate`.
        precision: Arithmetic; float32 is what published scores are made with.
        overwrite: Replace files that are there.
    """
    from segmenter.evaluation.compare_models import run_comparison

    run_comparison(
        a,
        b,
        data,
        split=split,
        json_file=json,
        report_folder=report,
        classes_file=classes,
        protocol=protocol,
        decode=decode,
        merge_tokens=merge_tokens,
        device=device,
        runtime=runtime,
        precision=precision,
        overwrite=overwrite,
    )
    return DONE
