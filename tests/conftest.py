"""What several tests need: tiny models and images, and the real data where it is at hand."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import save
from segmenter.classes import Classes
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.spec import (
    AttentionToMaskSpec,
    DecoderSpec,
    EncoderSpec,
    EoMTSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
    MultiBlockLinearSpec,
    Normalization,
)
from segmenter.recipe import Recipe

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[1] / "../shared"


logging.getLogger("torch.__trace").disabled = True  # else it writes pages for each exported model
torch.set_num_threads(1)  # tiny models on a busy machine: more threads only wait for each other


DECODERS: dict[str, DecoderSpec] = {
    "linear": LinearDecoderSpec(),
    "mask": MaskTransformerSpec(dim=64),
    "multi-linear": MultiBlockLinearSpec(blocks=2),
    "atm": AttentionToMaskSpec(dim=64, blocks=2),
    "eomt": EoMTSpec(blocks=1, cells=2),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests compile stays with them; what users have compiled is not taken."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


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
        decoder=DECODERS[decoder],
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
def image() -> np.ndarray:
    """A colourful 60 x 90 picture, uint8 RGB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


def write_data_set(
    root: Path, *, num_images: int = 4, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Images of 64 x 64 whose colour says the class, with borders between patches."""
    rng = np.random.default_rng(1)
    for split in splits:
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number in range(num_images):
            column, row = int(rng.integers(1, 4)) * 16, int(rng.integers(1, 4)) * 16
            labels = np.zeros((64, 64), dtype=np.uint8)
            labels[:, column:] = 1
            labels[row:] = 2
            image = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[labels]
            image = np.clip(image + rng.integers(-30, 30, image.shape), 0, 255).astype(np.uint8)
            name = f"photo-{number}.png"
            Image.fromarray(image).save(root / "images" / split / name)
            Image.fromarray(labels).save(root / "masks" / split / name)
    (root / "classes.yaml").write_text(make_classes(3).to_yaml())
    return root


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A three-class data set with four images in each of train and val."""
    return write_data_set(tmp_path / "data")


def make_recipe(root: Path, **changes: dict[str, object] | object) -> Recipe:
    """A run of seconds on `data_set`; `changes` are merged into the recipe's sections."""
    content: dict[str, object] = {
        "name": "tiny",
        "model": {"weights": str(root / "start.safetensors"), "decoder": "linear"},
        "data": {"root": str(root)},
        "augment": {"crop_size": 64, "color": "none", "scale": [1.0, 1.0]},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"steps": 6},
        "batch_size": 4,
        "workers": 0,
        "evaluate_every": 3,
        "save_every": 2,
    }
    for key, value in changes.items():
        section = content.get(key)
        content[key] = section | value if isinstance(section, dict) else value
    start = root / "start.safetensors"
    if not start.exists():
        torch.manual_seed(1)
        save(Segmenter(make_spec(patch_size=8, table_grid=(8, 8))), start)
    return Recipe.model_validate(content)
