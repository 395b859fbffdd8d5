"""The script of the page gives `predict`'s labels from an exported file, without the package."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import save
from segmenter.extras.export.write import openvino_files
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.protocol import EvaluationProtocol
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import to_onnx
from tests.helpers.models import decided, make_spec
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

SCRIPT = REPOSITORY / "docs/how-to/standalone.py"
PROTOCOLS = {
    "whole": EvaluationProtocol(short_side=80),
    "windows": EvaluationProtocol(short_side=100, window=64, stride=40),
    "its own size": EvaluationProtocol(),
}

pytestmark = pytest.mark.skipif(
    not SCRIPT.parent.is_dir(), reason=f"{NOT_HERE}: the pages of the repository"
)


def write_model(folder: Path, protocol: EvaluationProtocol) -> None:
    """Write a tiny model as each kind of file."""
    torch.manual_seed(0)
    spec = make_spec().model_copy(update={"protocol": protocol})
    model = decided(Segmenter(spec).eval())
    save(model, folder / "model.safetensors")
    graph, facts = to_onnx(model), ExportFacts(spec=spec)
    (folder / "model.onnx").write_bytes(add_facts(graph, facts))
    weights, topology = openvino_files((folder / "model.onnx").read_bytes(), facts)
    (folder / "model.bin").write_bytes(weights)
    (folder / "model.xml").write_bytes(topology)


def run_alone(folder: Path, *arguments: str) -> None:
    """Run the script where the package cannot be imported."""
    (folder / "segmenter.py").write_text("raise ImportError('the script imported the package')\n")
    subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        timeout=600,
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_script_gives_the_labels_of_predict(
    tmp_path: Path, image: np.ndarray, protocol: str
) -> None:
    write_model(tmp_path, PROTOCOLS[protocol])
    Image.fromarray(image).save(tmp_path / "photo.png")
    predictor = Predictor(tmp_path / "model.safetensors", runtime="torch", precision="float32")
    expected = predictor(image)
    assert len(np.unique(expected)) > 1
    for file in ("model.onnx", "model.xml"):
        run_alone(tmp_path, file, "photo.png", f"{file}.png")
        labels = np.asarray(Image.open(tmp_path / f"{file}.png"))
        assert np.array_equal(labels, expected), f"{file}: {np.sum(labels != expected)} pixels"


def test_the_page_names_the_script_and_what_it_needs() -> None:
    page = (REPOSITORY / "docs/how-to/export.md").read_text(encoding="utf-8")
    assert "standalone.py" in page
    for package in ("numpy", "opencv-python-headless", "pillow", "onnxruntime"):
        assert package in page
