"""Model cards: Markdown under the hub's YAML header, from what the model file itself carries.

Names and texts may come from a stranger's file, so they are made harmless in tables and headings.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from segmenter.checkpoints.license import terms_of_use
from segmenter.model import EvaluationProtocol, ModelSpec
from segmenter.pages import template_environment

_NAMES = {
    "miou": "mIoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
    "mean_dice": "mean Dice",
    "kappa": "kappa",
}
"""Scores over all classes, by their names in a model file."""

_HUB_METRICS = {"miou": "mean_iou", "pixel_accuracy": "accuracy"}
_HUB_LICENSES = {
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
}
"""Names of licences that the hub knows; others are `other` to it, and stand in the text."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~&])")


class Measured(NamedTuple):
    """Scores on one set of images; 1 is perfect."""

    on: str
    """Name of the split, such as `val`."""
    overall: dict[str, float]
    """Scores over all classes, by the names in `_NAMES`."""
    iou: dict[str, float | None]
    """IoU of each class; None if the split lacks it."""
    num_images: int | None


def measured(spec: ModelSpec) -> list[Measured]:
    """Return the scores that a model file carries."""
    return list(_read_scores(spec.scores))


def write_card(spec: ModelSpec, num_parameters: int, title: str, source: str) -> str:
    """Write the card of a model.

    Args:
        spec: What the model is.
        num_parameters: How many numbers it has learned.
        title: The heading.
        source: What `--model` takes, in the examples.

    Returns:
        Markdown, which begins with the YAML header that the hub reads.
    """
    environment = template_environment("segmenter.extras.sharing", is_html=False)
    environment.filters |= {"plain": _plain, "shell": shlex.quote, "python": json.dumps}
    recipe = _to_yaml(spec.recipe) if spec.recipe else ""
    return environment.get_template("card.md.jinja").render(
        header=_to_yaml(_header(spec, title)),
        title=title,
        source=source,
        on_hub=source.startswith("hf:"),
        spec=spec,
        millions=f"{num_parameters / 1e6:.1f}",
        measured=measured(spec),
        score_names=_NAMES,
        protocol=_changed(spec.protocol),
        recipe=recipe,
        fence="`" * max(3, 1 + max(map(len, re.findall("`+", recipe)), default=0)),
    )


def _read_scores(scores: Mapping[str, Any]) -> Iterator[Measured]:
    """Scores as `train` writes them, or in the shorter form of the bundled model."""
    for on, values in scores.items():
        if not isinstance(values, Mapping):
            continue
        iou = values.get("iou")
        if not isinstance(iou, Mapping):
            classes = values.get("classes")
            by_name = classes if isinstance(classes, Mapping) else {}
            iou = {
                name: each.get("iou") for name, each in by_name.items() if isinstance(each, Mapping)
            }
        num_images = values.get("num_images")
        yield Measured(
            " ".join(on.split()),
            {name: values[name] for name in _NAMES if _is_score(values.get(name))},
            {name: value if _is_score(value) else None for name, value in iou.items()},
            num_images if isinstance(num_images, int) else None,
        )


def _header(spec: ModelSpec, title: str) -> dict[str, Any]:
    """Return the metadata for the hub: https://huggingface.co/docs/hub/model-cards."""
    header: dict[str, Any] = {
        "library_name": "vit-segmenter",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "vision-transformer", "segmenter"],
    }
    if spec.license:
        known = spec.license.strip().lower()
        header["license"] = known if known in _HUB_LICENSES else "other"
        if header["license"] == "other" and terms_of_use(spec.license) is None:
            header["license_name"] = "-".join(known.split())
    results = [
        {
            "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
            "dataset": {"name": each.on, "type": each.on},
            "metrics": [
                {"type": kind, "name": _NAMES[name], "value": each.overall[name]}
                for name, kind in _HUB_METRICS.items()
                if name in each.overall
            ],
        }
        for each in measured(spec)
        if each.overall.keys() & _HUB_METRICS.keys()
    ]
    if results:
        header["model-index"] = [{"name": title, "results": results}]
    return header


def _changed(protocol: EvaluationProtocol) -> dict[str, Any]:
    """Return the fields of a protocol that are not as they are by default."""
    default = EvaluationProtocol().model_dump(mode="json")
    fields = protocol.model_dump(mode="json")
    return {name: value for name, value in fields.items() if value != default[name]}


def _to_yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).strip()


def _plain(value: object) -> str:
    """Text that means nothing to Markdown or HTML, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split()))


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1 <= value <= 1
