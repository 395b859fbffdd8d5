"""Features are those of the model in torch, whatever computes them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.errors import UserError
from segmenter.fitting.tokens import TokenStore
from segmenter.model import Segmenter
from segmenter.runtimes.features import (
    OpenVinoFeatures,
    TorchFeatures,
    encoder_key,
    feature_runtime,
)
from tests.helpers.models import make_spec

pytest.importorskip("openvino")
pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """A random model whose decoder takes several blocks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    return Segmenter(make_spec(3, decoder="multi-linear"))


def some_pixels(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)


def test_openvino_computes_the_features_of_torch_at_any_size(model: Segmenter) -> None:
    fast, plain = OpenVinoFeatures(model, "float32"), TorchFeatures(model)
    for height, width in ((48, 64), (50, 35)):
        pixels = some_pixels(height, width)
        np.testing.assert_allclose(fast(pixels), plain(pixels), atol=1e-4)


@pytest.mark.parametrize("decoder", ["joined-class-tokens", "eomt", "pmt"])
def test_features_are_those_of_patches_alone(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, pixels = Segmenter(make_spec(3, decoder=decoder)), some_pixels(50, 35)
    features = TorchFeatures(model)(pixels)
    patch = model.spec.encoder.patch_size
    assert features.shape[2:] == (-(-50 // patch), -(-35 // patch))
    np.testing.assert_allclose(OpenVinoFeatures(model, "float32")(pixels), features, atol=1e-4)


@pytest.mark.parametrize(
    ("decoder", "is_shared"), [("multi-linear", True), ("joined-class-tokens", False)]
)
def test_tokens_are_shared_unless_class_tokens_go_through_the_encoder(
    decoder: str, is_shared: bool
) -> None:
    model = Segmenter(make_spec(3, decoder=decoder))
    key = encoder_key(model)
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter)
    assert (encoder_key(model) == key) is is_shared


def test_a_model_with_the_same_encoder_takes_the_same_graph(
    model: Segmenter, tmp_path: Path
) -> None:
    OpenVinoFeatures(model, "float32")(some_pixels(48, 48))
    kept = set((tmp_path / "cache" / "segmenter").iterdir())
    torch.nn.init.zeros_(model.decoder.project.weight)  # another decoder
    OpenVinoFeatures(model, "float32")(some_pixels(48, 48))
    assert set((tmp_path / "cache" / "segmenter").iterdir()) == kept


def test_tokens_of_two_precisions_are_kept_apart(model: Segmenter, tmp_path: Path) -> None:
    from PIL import Image

    class Halved(TorchFeatures):
        precision = "bfloat16"

        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().__call__(pixels) / 2

    path = tmp_path / "image.png"
    Image.fromarray(some_pixels(48, 48)[0].permute(1, 2, 0).numpy()).save(path)
    full = TokenStore(model).read(path).grid
    assert (TokenStore(model, runtime=Halved(model)).read(path).grid != full).any()
    assert (TokenStore(model).read(path).grid == full).all()


def test_where_openvino_does_not_run_torch_computes(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> str:
        raise UserError("no CPU plugin")

    assert feature_runtime(model).describe().startswith("openvino")
    monkeypatch.setattr("segmenter.runtimes.openvino.usable_precision", refuse)
    assert feature_runtime(model).describe().startswith("torch")
