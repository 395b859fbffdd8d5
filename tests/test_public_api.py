"""What is given to the public door by mistake is answered in one line."""

import subprocess
import sys

# In a process of its own: in the tests, beartype looks at arguments before the package does.
CALLS = """
import numpy as np
import segmenter
from segmenter.classes import Classes
from segmenter.drawing import overlay

street = segmenter.load("street")
image = np.zeros((32, 32, 3), np.uint8)
calls = {
    "load 5": lambda: segmenter.load(5),
    "load None": lambda: segmenter.load(None),
    "load a list": lambda: segmenter.load(["street"]),
    "save no model": lambda: segmenter.save(5, "a.safetensors"),
    "save to 5": lambda: segmenter.save(street, 5),
    "Predictor of 5": lambda: segmenter.Predictor(5),
    "protocol 5": lambda: segmenter.Predictor(street, protocol=5),
    "scales 5": lambda: segmenter.Predictor(street, scales=5),
    "device []": lambda: segmenter.Predictor(street, device=[]),
    "precision 5": lambda: segmenter.Predictor(street, precision=5),
    "merge_threshold a word": lambda: segmenter.Predictor(street, merge_threshold="0.8"),
    "merge_threshold True": lambda: segmenter.Predictor(street, merge_threshold=True),
    "merge_threshold 80": lambda: segmenter.Predictor(street, merge_threshold=80),
    "no image": lambda: segmenter.Predictor(street)("photo.jpg"),
    "classes as colours": lambda: overlay(image, image[:, :, 0], street.spec.classes),
}
for name, call in calls.items():
    try:
        call()
        print(name, "passes")
    except segmenter.UserError:
        pass
    except Exception as error:
        print(name, repr(error))
"""


def test_arguments_of_a_wrong_type_are_mistakes_of_the_user() -> None:
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


OLD_KEYWORDS = """
import inspect
import warnings
import segmenter

model = segmenter.load("street-tiny")
for old, now, value in (("decode", "label_rule", "iou"), ("merge_tokens", "merge_threshold", 0.8)):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        predictor = segmenter.Predictor(model, **{old: value})
    assert value in (predictor.label_rule, predictor.runtime.merge_threshold)
    (warning,) = warned
    assert (warning.category, warning.filename) == (DeprecationWarning, "<string>")
    assert str(warning.message) == f"{old} is now {now}"
    try:
        segmenter.Predictor(model, **{old: value, now: value})
    except segmenter.UserError as error:
        assert str(error) == f"{old} is the old name of {now}; give {now} alone"
    else:
        raise AssertionError(old)
    assert now in inspect.signature(segmenter.Predictor).parameters
"""


def test_keywords_of_0_1_0_mean_what_they_are_called_now() -> None:
    done = subprocess.run([sys.executable, "-c", OLD_KEYWORDS], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
