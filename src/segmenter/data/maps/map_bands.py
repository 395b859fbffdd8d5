"""Values of a map as models see them, in training and in prediction alike."""

import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray

from segmenter.data.maps.raster_files import reading

_GOLDEN = (5**0.5 - 1) / 2
_SAMPLED_BLOCKS = 64
_SAMPLED_PIXELS = 4096
"""In each of the blocks."""


class MapBands:
    """Some bands of an open raster; pixels without data get the median of each band over the map.

    A pixel has no data if all bands have the file's nodata value there, if its mask or transparency
    says so, or if a value is NaN or infinite. Medians are those of a fixed sample: at most 4096
    pixels of each of 64 blocks, which are spread evenly over the map.

    Args:
        file: The raster, open.
        bands: Numbers of its bands, from 1.
    """

    def __init__(self, file: Any, bands: Sequence[int]) -> None:
        self.file, self.bands = file, list(bands)
        self._has_floats = np.dtype(file.dtypes[0]).kind == "f"
        flags = itertools.chain.from_iterable(file.mask_flag_enums)
        self._is_complete = all(flag.name == "all_valid" for flag in flags)

    def read(self, window: Any) -> Shaped[ndarray, "bands height width"]:
        """Return the values of a window, with medians where there are none."""
        values = self._values(window)
        missing = self._missing(window, values)
        if missing.any():
            values[:, missing] = self.medians[:, None]
        return values

    def is_missing(self, window: Any) -> Bool[ndarray, "height width"]:
        """Return the pixels of a window without data."""
        return self._missing(window, self._values(window) if self._has_floats else None)

    @cached_property
    def medians(self) -> Shaped[ndarray, " bands"]:
        """The median of each band; 0 if the map has no data."""
        windows = [window for _, window in self.file.block_windows(1)]
        order = np.argsort(np.arange(len(windows)) * _GOLDEN % 1)  # each start of it is spread
        found: list[ndarray] = []
        for index in order.tolist():
            values = self._values(windows[index])
            values = values[:, ~self._missing(windows[index], values)]
            if values.shape[1]:
                found.append(values[:, :: -(-values.shape[1] // _SAMPLED_PIXELS)])
            if len(found) == _SAMPLED_BLOCKS:
                break
        if not found:
            return np.zeros(len(self.bands), self.file.dtypes[0])
        return np.quantile(np.concatenate(found, axis=1), 0.5, axis=1, method="lower")

    def _values(self, window: Any) -> Shaped[ndarray, "bands height width"]:
        with reading(Path(self.file.name)):
            return self.file.read(self.bands, window=window)

    def _missing(self, window: Any, values: ndarray | None) -> Bool[ndarray, "height width"]:
        """Return the pixels without data; values of floats are needed."""
        if self._is_complete:
            missing = np.zeros((int(window.height), int(window.width)), bool)
        else:
            with reading(Path(self.file.name)):
                missing = self.file.dataset_mask(window=window) == 0
        if values is not None and self._has_floats:
            missing |= ~np.isfinite(values).all(axis=0)
        return missing
