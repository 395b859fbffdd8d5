"""`segmenter prune`, as it is typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segmenter
from segmenter.checkpoints import save
from segmenter.data.trained_on import count_trained_on, write_own_list
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.runtimes.parity import best_class_agreement
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec
from tests.helpers.runs import make_recipe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images and a model of four blocks, of which two change nothing."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    model = Segmenter(make_spec(patch_size=8, depth=4)).eval()
    torch.nn.init.normal_(model.decoder.project.weight)  # else it has one label
    for block in model.encoder.blocks[1:3]:
        for layer in (block.attention.project, block.mlp.reduce):
            torch.nn.init.zeros_(layer.weight)
    save(model, "whole.safetensors")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_a_smaller_model_is_written_that_says_the_same(capsys: pytest.CaptureFixture) -> None:
    command = "prune whole.safetensors data/images --out small.safetensors --depth 2"
    assert run(*command.split()) == 0
    said = capsys.readouterr().out
    assert "blocks that stay: 0, 3 of 4" in said
    assert (
        "fitted to 7 images; in those held out (1), 100.0% of the patches keep their label" in said
    )
    small = segmenter.load("small.safetensors")
    assert len(small.encoder.blocks) == 2
    assert small.spec.provenance == "Pruned to blocks 0, 3 and an MLP ratio of 4."
    labels, others = (
        segmenter.Predictor(segmenter.load(f"{name}.safetensors"))(image)
        for name in ("whole", "small")
        for image in [np.array(Image.open("data/images/val/photo-0.png"))]
    )
    assert (labels == others).mean() > 0.99


@pytest.mark.usefixtures("here")
def test_the_list_of_images_it_was_trained_on_goes_with_it() -> None:
    images = sorted(Path("data/images").rglob("*.png"))
    write_own_list(Path("whole.safetensors"), images[:1])
    command = "prune whole.safetensors data/images/val --out small.safetensors --depth 2"
    assert run(*command.split()) == 0
    fitted = count_trained_on(Path("small.safetensors"), images[1:])
    assert count_trained_on(Path("small.safetensors"), images) == (fitted or 0) + 1
    assert fitted


@pytest.mark.usefixtures("here")
def test_the_same_command_makes_the_same_file() -> None:
    for name in ("a", "b"):
        command = f"prune whole.safetensors data/images --out {name}.safetensors --mlp-ratio 1.5"
        assert run(*command.split(), "--blocks", "0", "3") == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


@pytest.mark.usefixtures("here")
def test_what_is_pruned_can_be_scored_and_trained() -> None:
    command = "prune whole.safetensors data/images --out s.safetensors --mlp-ratio 2"
    assert run(*command.split()) == 0
    assert run(*["evaluate", "s.safetensors", "data", "--split", "val"]) == 0
    recipe = make_recipe(Path("data"), schedule={"steps": 1}, data={"val": None})
    Path("mine.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    assert run(*["train", "mine.yaml", "--from", "s.safetensors", "--out", "mine"]) == 0
    assert segmenter.load("mine/last.safetensors").spec.encoder.mlp_ratio == 2


@pytest.mark.usefixtures("here")
def test_of_large_images_one_window_is_looked_at() -> None:
    whole = segmenter.load("whole.safetensors")
    whole.spec = whole.spec.model_copy(
        update={"protocol": EvaluationProtocol(window=32, stride=32)}
    )
    save(whole, "windows.safetensors")
    command = "prune windows.safetensors data/images --out s.safetensors --depth 3"
    assert run(*command.split()) == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("data/images", "nothing to prune"),
        ("data/images --depth 2 --blocks 0", "not both"),
        ("data/images --depth 5", "depth is from 1 to 4 blocks"),
        ("data/images --blocks 1 2", "numbers from 0 to 3"),
        ("data/images --mlp-ratio 9", "mlp_ratio is at least"),
        ("data/images --depth 2 --max-images 1", "--max-images is at least 2"),
        ("data/images/val/photo-0.png --depth 2", "give at least 2 images"),
        ("nothing --depth 2", "nothing"),
        ("data/images --depth 2 --device abacus", "device 'abacus' cannot be used"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_one_line(
    options: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    command = f"prune whole.safetensors {options} --out s.safetensors"
    assert message in refused(capsys, *command.split())
    assert not Path("s.safetensors").exists()


@pytest.mark.usefixtures("here")
def test_a_file_that_is_there_is_left_alone(capsys: pytest.CaptureFixture) -> None:
    Path("there.safetensors").write_bytes(b"before")
    command = "prune whole.safetensors data/images --depth 2 --out there.safetensors"
    assert "exists" in refused(capsys, *command.split())
    assert Path("there.safetensors").read_bytes() == b"before"


def test_the_share_of_labels_that_are_kept_is_over_patches() -> None:
    one, other = (Segmenter(make_spec(patch_size=8)).eval() for _ in range(2))
    other.load_state_dict(one.state_dict())
    torch.nn.init.normal_(one.decoder.project.weight)
    images = [torch.randn(1, 3, 16, 16), torch.randn(1, 3, 32, 8)]
    assert best_class_agreement(one, one, images) == 1
    labels = [one.patch_logits(image).argmax(dim=1).flatten() for image in images]
    torch.nn.init.zeros_(other.decoder.project.weight)  # class 0 everywhere
    assert best_class_agreement(one, other, images) == float(
        (torch.cat(labels) == 0).float().mean()
    )
