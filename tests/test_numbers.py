"""Every number of a model file, a recipe and an exported file has a range."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from segmenter import UserError, load, save
from segmenter.classes import Classes
from segmenter.model import ModelSpec, Segmenter
from segmenter.recipe import Recipe, make_recipe, read_recipe
from segmenter.runtimes.exported import ExportFacts
from segmenter.training.model_spec import build_spec
from tests.helpers.models import DECODERS, make_classes, make_spec
from tests.helpers.relabel import relabel

NAN, INFINITY = float("nan"), float("inf")


def bounds(schema: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """All numbers in a JSON schema, each with its place."""
    if isinstance(schema, dict):
        if schema.get("type") in {"integer", "number"} and "const" not in schema:
            yield ".".join(at), schema
        for key, inner in schema.items():
            yield from bounds(inner, (*at, key))
    elif isinstance(schema, list):
        for inner in schema:
            yield from bounds(inner, at)


@pytest.mark.parametrize("schema", [ModelSpec, Recipe, ExportFacts])
def test_every_number_has_two_ends(schema: Any) -> None:
    for place, field in bounds(schema.model_json_schema()):
        assert {"minimum", "exclusiveMinimum"} & field.keys() or "enum" in field, place
        assert {"maximum", "exclusiveMaximum"} & field.keys() or "enum" in field, place


SPECS: list[tuple[str, str, Any]] = [
    *(("normalization", "mean", [value] * 3) for value in (NAN, INFINITY, 1e30)),
    *(("normalization", "std", [value] * 3) for value in (NAN, INFINITY, 0.0, -1.0, 1e-30)),
    *(("encoder", "layer_norm_eps", value) for value in (NAN, INFINITY, 0.0, 1e30)),
    *(("encoder", "mlp_ratio", value) for value in (NAN, INFINITY, 0.0, 1e9)),
    *(("encoder", "embed_dim", value) for value in (0, 65, 1 << 16, 10**9)),
    *(("encoder", "depth", value) for value in (0, -1, 201, 10**12)),
    *(("encoder", "patch_size", value) for value in (0, 129, 1 << 20)),
    *(("encoder", "in_channels", value) for value in (0, 1 << 20)),
    *(("encoder", "table_grid", value) for value in ([0, 4], [1 << 20, 1 << 20])),
    ("encoder", "drop_path", NAN),
    ("encoder", "rotary_temperature", INFINITY),
    ("encoder", "num_prefix_tokens", 65),
    *(("protocol", "scales", value) for value in ([], [1.0] * 100_000, [NAN], [1e-9], [1e9])),
    *(("protocol", "short_side", value) for value in (0, 1 << 20)),
    *(("protocol", "max_ratio", value) for value in (NAN, INFINITY, 0.5)),
]


@pytest.mark.parametrize(("section", "field", "value"), SPECS)
def test_a_model_file_with_a_number_out_of_range_is_refused(
    tmp_path: Path, section: str, field: str, value: Any
) -> None:
    path = tmp_path / "model.safetensors"
    save(Segmenter(make_spec()), path)
    with pytest.raises(UserError, match=rf"{section}\.{field}"):
        load(relabel(path, spec={section: {field: value}}, is_old=True))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"window": 1, "stride": 1}, "window is 1, less than one patch of 16"),
        ({"window": 32, "stride": 48}, "stride 48 is larger than window 32"),
        ({"window": 32}, "window and stride go together"),
    ],
)
def test_a_window_that_shows_nothing_or_leaves_gaps_is_refused(
    protocol: dict[str, int], message: str
) -> None:
    content = make_spec().model_dump(mode="json")
    content["protocol"] |= protocol
    with pytest.raises(ValueError, match=message):
        ModelSpec.model_validate(content)


RECIPES: list[tuple[str, Any]] = [
    ("model.decoder", {"kind": "mask", "dim": 1_000_000}),
    ("model.encoder_depth", 10**9),
    ("model.patch_size", 10**6),
    ("model.encoder_layer_norm_eps", 1e9),
    ("augment.scale_base", 10**9),
    ("augment.crop_size", 10**6),
    ("augment.scale", [1e-9, 2.0]),
    ("optimizer.lr", 1e12),
    ("optimizer.weight_decay", 1e12),
    ("optimizer.frozen_blocks", 10**9),
    ("schedule.steps", 10**15),
    ("schedule.power", 1e9),
    ("loss.dice", 1e12),
    ("protocol.short_side", 10**6),
    ("batch_size", 10**9),
    ("accumulate", 10**9),
    ("log_every", 10**15),
]


@pytest.mark.parametrize(("field", "value"), RECIPES)
def test_a_recipe_with_a_number_out_of_range_is_refused(field: str, value: Any) -> None:
    *sections, key = field.split(".")
    changes: dict[str, Any] = {key: value}
    for section in reversed(sections):
        changes = {section: changes}
    with pytest.raises(UserError, match=rf"{field}"):
        read_recipe("finetune", changes)


def test_a_recipe_whose_parts_do_not_go_together_is_refused_in_one_line(data_set: Path) -> None:
    save(Segmenter(make_spec()), data_set / "start.safetensors")
    recipe = read_recipe("finetune").model_dump(mode="json")
    recipe["model"] |= {"encoder": None, "weights": str(data_set / "start.safetensors")}
    recipe["optimizer"]["frozen_blocks"] = 0
    recipe["data"]["root"] = str(data_set)
    recipe["protocol"] |= {"rules": None, "window": 8, "stride": 8}
    recipe = make_recipe(recipe, "test")
    with pytest.raises(UserError, match=r"window is 8, less than one patch of 16"):
        build_spec(recipe, make_classes(3), make_spec())


def test_65534_classes_are_checked_in_a_moment() -> None:
    content = [{"name": f"c{i}", "color": [0, 0, 0], "values": [i]} for i in range(65534)]
    start = time.process_time()
    assert len(Classes.model_validate({"classes": content, "ignore": []})) == 65534
    assert time.process_time() - start < 5


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_in_range_is_taken_as_before(decoder: str) -> None:
    spec = make_spec(decoder=decoder)
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    assert all(each.isfinite().all() for each in Segmenter(spec)(torch.zeros(1, 3, 32, 32)))
