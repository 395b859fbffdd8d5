"""Keywords of functions, for type checkers; written by `tests/api/test_keywords.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

Section = Mapping[str, Any]
RECIPE_FIELDS: tuple[str, ...]

CHECK: tuple[type, ...]
CONVERT: tuple[type, ...]
EVALUATE: tuple[type, ...]
EXPORT: tuple[type, ...]
FIT: tuple[type, ...]
TRAIN: tuple[type, ...]

class CheckKeywords(TypedDict, total=False):
    """Keywords of `segmenter.check`."""

    images: str | None
    masks: str | None
    pairing_note: bool
    device: str
    overwrite: bool
    palette: Literal["classes", "distinct"]
    json: str | Path | None
    report: str | Path | None

class ConvertKeywords(TypedDict, total=False):
    """Keywords of `segmenter.convert`."""

    classes: str | Path | None
    window: int | None
    stride: int | None
    overwrite: bool

class EvaluateKeywords(TypedDict, total=False):
    """Keywords of `segmenter.evaluate`."""

    classes: str | Path | None
    images: str | None
    masks: str | None
    pairing_note: bool
    split: str | None
    ids: Literal["index", "source"] | None
    window: int | None
    stride: int | None
    short_side: int | None
    scales: Sequence[float] | None
    protocol: str | None
    whole: bool
    threshold: float | None
    symmetry: Literal["none", "mirror", "flips", "d4"] | None
    flip: bool | None
    label_rule: Literal["argmax", "iou", "dice"]
    statistics: bool
    boundary_ratio: float | None
    temperature_split: str | None
    device: str
    runtime: str | None
    precision: str | None
    merge_threshold: float | None
    overwrite: bool
    palette: Literal["classes", "distinct"]
    json: str | Path | None
    report: str | Path | None

class ExportKeywords(TypedDict, total=False):
    """Keywords of `segmenter.export`."""

    overwrite: bool
    classes: str | Path | None
    images: str | None
    masks: str | None
    pairing_note: bool
    split: str | None
    format: Literal["onnx", "openvino", "triton", "web"]
    output: Literal["logits", "labels"]
    normalize: bool
    data: str | None
    onnxruntime_web: str | Path | None

class FitKeywords(TypedDict, total=False):
    """Keywords of `segmenter.fit`."""

    classes: str | Path | None
    images: str | None
    masks: str | None
    pairing_note: bool
    bands: Sequence[int] | Literal["all"] | None
    split: str | None
    short_side: int | None
    shifts: Literal[1, 2, 4]
    minutes: float | None
    device: str
    overwrite: bool
    json: str | Path | None

class TrainKeywords(TypedDict, total=False):
    """Keywords of `segmenter.train`."""

    out: str | Path | None
    resume: bool
    allow_config_change: bool
    print_recipe: bool
    device: str
    devices: int | None
    fsdp: bool
    compile: bool
    deterministic: bool
    name: str
    model: Section
    augment: Section
    loss: Section
    optimizer: Section
    schedule: Section
    protocol: Section
    batch_size: int
    accumulate: int
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    ema_decay: float
    seed: int
    workers: int
    log_every: int
    evaluate_every: int
    save_every: int
    stop_after: int | None
    track: Sequence[Literal["tensorboard", "wandb", "mlflow"]]
    provenance: str
    license: str
