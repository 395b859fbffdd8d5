"""Training runs of our own follow the losses that 0.1.0 had, step by step."""

import json
from pathlib import Path

import pytest

from tests.helpers.loss_curves import BARS, FOLDER, RECIPES, curve


def golden(name: str, precision: str) -> list[dict[str, float]]:
    return json.loads((FOLDER / f"{name}.json").read_text())[precision]


@pytest.mark.parametrize("precision", BARS)
@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps_follow_the_kept_losses_gradient_norms_rates_and_scores(
    tmp_path: Path, name: str, precision: str
) -> None:
    found = curve(name, precision, tmp_path)
    expected = golden(name, precision)
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for line, kept in zip(found, expected, strict=True):
        for key in ("train/loss", "train/grad_norm"):
            if key in kept:
                assert line[key] == pytest.approx(kept[key], rel=BARS[precision]), line["step"]
        assert line.get("train/lr") == kept.get("train/lr")
        assert line.get("val/miou") == pytest.approx(kept.get("val/miou"), abs=0.01)


@pytest.mark.parametrize("name", RECIPES)
def test_the_bar_of_float32_is_less_than_what_bfloat16_changes(name: str) -> None:
    losses = [
        [line["train/loss"] for line in golden(name, precision) if "train/loss" in line]
        for precision in BARS
    ]
    assert losses[0] != pytest.approx(losses[1], rel=BARS["float32"])
