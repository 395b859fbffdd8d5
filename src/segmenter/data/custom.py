"""Augmentation by a function of the user's own, which a recipe names by its import path.

Nothing is imported until a run reads its first crop, and only what the user names when the run is
started: `api/run_recipe.py` asks for the name again if a recipe file brings it.
"""

import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy import ndarray

from segmenter.data.sample import Sample
from segmenter.errors import UserError

Custom = Callable[[ndarray, ndarray, np.random.Generator], object]
"""Takes an image, its labels and random numbers, and returns image and labels."""


@dataclass(frozen=True)
class CustomOperation:
    """Apply the function to a crop, and check what it returns.

    It is imported where it is first used, so that each reading process imports it for itself.
    """

    name: str
    """Import path: `package.module:function`."""
    num_classes: int
    """Labels are below this, or the ignore index."""
    ignore_index: int
    """Label of pixels that do not count."""

    def __call__(self, crop: Sample, rng: np.random.Generator) -> Sample:
        """Change a crop.

        Raises:
            UserError: If the function fails, or does not return an image and labels as it got them.
        """
        function = find_function(self.name)
        try:
            returned = function(crop.image.copy(), crop.labels.copy(), rng)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"augment.custom: {self.name} failed with {type(error).__name__}: {error} "
                f"({Path(frame.filename).name}, line {frame.lineno})"
            ) from error
        return self._checked(returned, crop)

    def _checked(self, returned: object, crop: Sample) -> Sample:
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise self._refusal(f"({_described(crop.image)}, {_described(crop.labels)})", returned)
        for array, like in zip(returned, crop, strict=True):
            is_array = isinstance(array, ndarray)
            if not is_array or (array.shape, array.dtype) != (like.shape, like.dtype):
                raise self._refusal(_described(like), array)
        image, labels = (np.ascontiguousarray(array) for array in returned)
        is_wrong = (labels >= self.num_classes) & (labels != self.ignore_index)
        if is_wrong.any():
            raise UserError(
                f"augment.custom: {self.name} returned label {labels[is_wrong][0]}; the labels are "
                f"0 to {self.num_classes - 1}, and {self.ignore_index} is ignored"
            )
        return Sample(image, labels)

    def _refusal(self, wanted: str, returned: object) -> UserError:
        return UserError(
            f"augment.custom: {self.name} must return {wanted}, got {_described(returned)}"
        )


@lru_cache
def find_function(name: str) -> Custom:
    """Import a function by its path; modules of the current folder are found after all others.

    Raises:
        UserError: If the module or function does not exist, or the import fails.
    """
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UserError(
            f"augment.custom: module {module_name} cannot be imported: {type(error).__name__}: "
            f"{error}; modules are found where Python finds them, and in the current folder"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"augment.custom: module {module_name} has no function {function_name}")
    return function


def source_digest(name: str) -> str:
    """Return the SHA-256 of the file that defines a function, or "" where there is none.

    Raises:
        UserError: If the function cannot be imported.
    """
    module = sys.modules[find_function(name).__module__]
    path = inspect.getsourcefile(module) if hasattr(module, "__file__") else None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def _described(value: object) -> str:
    if isinstance(value, ndarray):
        return f"an array {' x '.join(map(str, value.shape))} of {value.dtype}"
    if isinstance(value, tuple):
        return f"({', '.join(_described(each) for each in value)})"
    return type(value).__name__
