"""What several tests need: tiny models and photos, and the real data where it is at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.classes import Classes
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.spec import EncoderSpec, LinearDecoderSpec, MaskTransformerSpec, Normalization

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[1] / "../shared"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def camvid() -> Path:
    """The CamVid folder; the test is skipped where it is not at hand."""
    folder = SHARED / "data" / "camvid"
    if not folder.is_dir():
        pytest.skip(f"needs the CamVid data set at {folder}")
    return folder


def make_classes(count: int) -> Classes:
    """Classes 0 to count - 1, as grey mask values of the same number."""
    return Classes.model_validate(
        {
            "classes": [
                {"name": f"class-{i}", "color": [i % 256, 255 - i % 256, i // 256], "values": [i]}
                for i in range(count)
            ],
            "ignore": [] if count > 255 else [255],
        }
    )


def make_spec(
    num_classes: int = 3,
    *,
    decoder: str = "linear",
    patch_size: int = 16,
    fit: str = "pad-crop",
    **encoder: object,
) -> ModelSpec:
    """A tiny model's spec; `encoder` replaces single fields of the `EncoderSpec`."""
    fields = {
        "architecture": "tiny",
        "patch_size": patch_size,
        "embed_dim": 64,
        "depth": 2,
        "table_grid": (4, 4),
    }
    spec = EncoderSpec.model_validate(fields | encoder)
    return ModelSpec(
        encoder=spec,
        decoder=LinearDecoderSpec() if decoder == "linear" else MaskTransformerSpec(dim=64),
        fit=fit,
        classes=make_classes(num_classes),
        normalization=Normalization(
            mean=(127.5,) * spec.in_channels, std=(127.5,) * spec.in_channels
        ),
    )


@pytest.fixture
def tiny_model() -> Segmenter:
    """A random three-class model with a linear decoder, in eval mode."""
    return Segmenter(make_spec()).eval()


@pytest.fixture
def photo() -> np.ndarray:
    """A colourful 60 x 90 picture, uint8 RGB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)
