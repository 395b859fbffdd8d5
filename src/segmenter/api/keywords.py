"""The options of each function of the package, whose fields become its keywords.

Type checkers and editors read `keywords.pyi` instead, which spells the fields out. It is made of
the options objects, by `python -m tests.api.test_keywords`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypedDict

from segmenter.extras.export.formats import ExportOptions
from segmenter.options import (
    ClassesFile,
    Compute,
    Device,
    Execution,
    ExtraMetrics,
    FitData,
    FitOptions,
    FitOutput,
    Hardware,
    Labelling,
    Output,
    Pairs,
    Report,
    RunFolder,
    ScoredData,
    Views,
    Windows,
)
from segmenter.recipe import Recipe

CHECK = (Pairs, Device, Report)
CONVERT = (ClassesFile, Windows, Output)
EVALUATE = (ScoredData, Views, Labelling, ExtraMetrics, Compute, Report)
EXPORT = (ExportOptions,)
FIT = (FitData, FitOptions, Device, FitOutput)
TRAIN = (RunFolder, Hardware, Execution)
RECIPE_FIELDS = tuple(name for name, field in Recipe.model_fields.items() if not field.exclude)
"""Fields of a recipe; `train` takes them as well, and has an argument of its own for `data`."""

Section = Mapping[str, Any]
"""Fields of a section of a recipe, such as `{"steps": 100}` of `schedule`."""


def _keywords(name: str, kinds: Iterable[type], *more: str) -> Any:
    """Return a `TypedDict` of the fields of options, which `Unpack` makes keywords of."""
    names = [field.name for kind in kinds for field in fields(kind)]
    form: Any = TypedDict(name, dict.fromkeys([*names, *more], Any), total=False)  # pyright: ignore
    return form


CheckKeywords = _keywords("CheckKeywords", CHECK)
ConvertKeywords = _keywords("ConvertKeywords", CONVERT)
EvaluateKeywords = _keywords("EvaluateKeywords", EVALUATE)
ExportKeywords = _keywords("ExportKeywords", EXPORT)
FitKeywords = _keywords("FitKeywords", FIT)
TrainKeywords = _keywords(
    "TrainKeywords", TRAIN, *(name for name in RECIPE_FIELDS if name != "data")
)
