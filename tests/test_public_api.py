"""What is given to the public door by mistake is answered in one line."""

import subprocess
import sys

import segmenter

# In a process of its own: in the tests, beartype looks at arguments before the package does.
CALLS = r"""
import numpy as np
import torch
import segmenter
from segmenter.classes import Classes
from segmenter.drawing import overlay

street = segmenter.load("street-tiny")
predictor = segmenter.Predictor(street)
image = np.zeros((32, 32, 3), np.uint8)
segmentation = predictor.segment(image)
half = segmenter.load("street-tiny").half()
calls = {
    "load 5": lambda: segmenter.load(5),
    "load None": lambda: segmenter.load(None),
    "load a list": lambda: segmenter.load(["street"]),
    "load nothing": lambda: segmenter.load(),
    "load onto no device": lambda: segmenter.load("street-tiny", device="gpu"),
    "save nothing": lambda: segmenter.save(),
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
    "threshold a word": lambda: segmenter.Predictor(street, threshold="0.3"),
    "threshold of several classes": lambda: segmenter.Predictor(street, threshold=0.3),
    "no image": lambda: segmenter.Predictor(street)("photo.jpg"),
    "evaluate 5": lambda: segmenter.evaluate(5, "data"),
    "evaluate with a window in words": lambda: segmenter.evaluate("street", "data", window="large"),
    "evaluate with an unknown option": lambda: segmenter.evaluate("street", "data", windw=5),
    "check with workers in words": lambda: segmenter.check(".", workers="many"),
    "convert of gpus in words": lambda: segmenter.convert("a.yml", "b.yaml", gpus="4"),
    "convert by an unknown norm": lambda: segmenter.convert("a", "b", normalization="vitt"),
    "export to 5": lambda: segmenter.export("street", 5),
    "fit on 5": lambda: segmenter.fit(5, "model.safetensors"),
    "fit for minutes in words": lambda: segmenter.fit("data", "a.safetensors", minutes="five"),
    "train on 5": lambda: segmenter.train(data=5),
    "train partially, in words": lambda: segmenter.train(data="data", partial="yes"),
    "train with a section in words": lambda: segmenter.train(data="data", schedule="short"),
    "Predictor with an unknown keyword": lambda: segmenter.Predictor(street, shortside=5),
    "Predictor without a model": lambda: segmenter.Predictor(),
    "short_side True": lambda: segmenter.Predictor(street, short_side=True),
    "flip in words": lambda: segmenter.Predictor(street, flip="yes"),
    "a model with a null byte": lambda: segmenter.Predictor("a\0b"),
    "load with a null byte": lambda: segmenter.load("a\0b"),
    "save with a null byte": lambda: segmenter.save(street, "a\0b"),
    "an image with a null byte": lambda: predictor("a\0b.png"),
    "an image of a long name": lambda: predictor("a" * 5000),
    "rows of an unknown result": lambda: next(predictor.rows(image, "labls")),
    "rows of a list": lambda: next(predictor.label_rows(["a.png"])),
    "a meta tensor": lambda: predictor(torch.zeros(3, 32, 32, device="meta")),
    "a sparse tensor": lambda: predictor(torch.zeros(3, 32, 32).to_sparse()),
    "save 3": lambda: segmentation.save("a", save=3),
    "overwrite in words": lambda: segmenter.save(street, "a.safetensors", overwrite="no"),
    "a model of half precision": lambda: segmenter.Predictor(half),
    "save into a null byte": lambda: segmentation.save("a\0b"),
    "save by unknown ids": lambda: segmentation.save("a", ids="sorce"),
    "an opacity in words": lambda: segmentation.overlay(opacity="half"),
    "train nothing": lambda: segmenter.train(1, 2),
    "evaluate without data": lambda: segmenter.evaluate("street"),
    "check without data": lambda: segmenter.check(),
    "export without a file": lambda: segmenter.export("street"),
    "convert without a file": lambda: segmenter.convert("a"),
    "segment 5": lambda: segmenter.Predictor(street).segment(5),
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


def test_completion_finds_every_public_name() -> None:
    assert set(segmenter.__all__) <= set(dir(segmenter))
