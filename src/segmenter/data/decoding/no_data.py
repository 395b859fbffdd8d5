"""Pixels that a TIFF file calls without data: models see there what they see in maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray

from segmenter.data.decoding.tiff_layout import is_map

_GDAL_NODATA = 42113
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_EXTRA_SAMPLES, _ALPHA_KINDS = 338, (1, 2)
_SAMPLED_PIXELS = 1 << 18
"""At most, evenly spread: as many as medians of maps are found from."""


def stated_no_data(tags: Mapping[int, Any]) -> float | None:
    """Return the value of pixels without data, as GDAL writes it into a TIFF; None without one."""
    try:
        return float(str(tags.get(_GDAL_NODATA)).strip(" \0"))
    except ValueError:
        return None


def tells_no_data(tags: Mapping[int, Any]) -> bool:
    """Return True if a TIFF tells pixels without data from others: by a value or its opacity."""
    return stated_no_data(tags) is not None or _ends_with_alpha(tags)


def fill_no_data(
    values: Shaped[ndarray, "height width bands"],
    tags: Mapping[int, Any],
    every: Shaped[ndarray, "height width all_bands"] | None = None,
) -> Shaped[ndarray, "height width bands"]:
    """Give pixels without data the median of each band, in place, and return the values.

    A pixel has no data if all bands have the value that the file states, or if that is NaN, one of
    them; if none is stated, where a map is transparent. `predict` fills maps by the same rule
    (`maps.MapBands`).

    Args:
        values: Bands of the file, in its type.
        tags: Tags of the file by number.
        every: All of its bands, if `values` are not.
    """
    every = values if every is None else every
    no_data = stated_no_data(tags)
    is_inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if no_data is not None and not is_inverted:
        missing = _has_value(every, no_data)
    elif _ends_with_alpha(tags):
        missing = every[:, :, -1] == 0
    else:
        return values
    if missing.any():
        places = np.flatnonzero(~missing)
        places = places[:: len(places) // _SAMPLED_PIXELS + 1]
        known = values.reshape(-1, values.shape[2])[places]
        values[missing] = np.quantile(known, 0.5, axis=0, method="lower") if len(known) else 0
    return values


def _ends_with_alpha(tags: Mapping[int, Any]) -> bool:
    """Return True for a map whose last band is opacity."""
    kinds = np.atleast_1d(tags.get(_EXTRA_SAMPLES, 0))
    return kinds[-1] in _ALPHA_KINDS and is_map(tags)


def _has_value(
    values: Shaped[ndarray, "height width bands"], no_data: float
) -> Bool[ndarray, "height width"]:
    if np.isnan(no_data):
        return np.asarray(np.isnan(values).any(axis=2))
    with np.errstate(over="ignore"):  # what no value of the type can be
        wanted = values.dtype.type(no_data) if values.dtype.kind == "f" else no_data
    return (values == wanted).all(axis=2)
