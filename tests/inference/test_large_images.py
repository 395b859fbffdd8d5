"""An image of any size is labelled in bounded memory."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np, torch
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from tests.helpers.models import make_spec

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

height, width, stride, flip = (int(given) for given in sys.argv[1:])
protocol = EvaluationProtocol(window=512, stride=stride, flip=bool(flip))
predictor = Predictor(Segmenter(make_spec(150, depth=1)), protocol=protocol)
predictor(np.zeros((600, 600, 3), np.uint8))
before = peak()
coarse = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
labels = predictor(coarse.repeat(20, axis=0).repeat(20, axis=1))
assert labels.shape == (height, width) and len(np.unique(labels)) > 1
print(peak() - before)
"""


def peak_above_the_model(height: int, width: int, *, stride: int, flip: bool) -> int:
    arguments = [str(int(given)) for given in (height, width, stride, flip)]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "flip"), [(512, False), (384, True)])
def test_48_megapixels_with_150_classes_need_less_than_1_5_gb(stride: int, flip: bool) -> None:
    more = peak_above_the_model(6000, 8000, stride=stride, flip=flip)
    print(f"{more / 1e6:.0f} MB more")
    assert more < 1.5e9
