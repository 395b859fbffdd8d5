"""Environments of their own for the code bases that ours is measured beside, from PyPI."""

import subprocess
import venv
from pathlib import Path
from typing import Literal

Peer = Literal["paddleseg", "mmsegmentation"]
CACHE = Path.home() / ".cache/segmenter-benchmarks"

_PADDLESEG = (
    ("--no-deps", "paddleseg==2.8.0"),  # pins an old OpenCV with a window system
    (
        *("paddlepaddle==3.3.1", "six", "pyyaml", "tqdm", "scipy", "requests", "scikit-learn"),
        "opencv-python-headless",
    ),
)
_MMSEGMENTATION = (
    (
        *("torch==2.13.0", "mmsegmentation==1.2.2", "mmcv-lite==2.1.0", "mmengine==0.10.7"),
        *("ftfy", "regex"),
    ),
)
_INSTALLS: dict[Peer, tuple[tuple[str, ...], ...]] = {
    "paddleseg": _PADDLESEG,
    "mmsegmentation": _MMSEGMENTATION,
}


def peer_python(peer: Peer, cache: Path) -> Path:
    """The interpreter of an environment that holds a code base, made where it is missing.

    Each takes about 1.5 GB. Where a CPU build of PyTorch is wanted, pip's own settings say where it
    is found.
    """
    folder = cache / peer
    python, ready = folder / "bin/python", folder / "ready"
    if not ready.is_file():
        venv.create(folder, with_pip=True, clear=True)
        for packages in _INSTALLS[peer]:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        ready.touch()
    return python
