"""Pixels that a TIFF file calls without data: models see there what they see in maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

_GDAL_NODATA = 42113
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def stated_no_data(tags: Mapping[int, Any]) -> float | None:
    """Return the value of pixels without data, as GDAL writes it into a TIFF; None without one."""
    try:
        return float(str(tags.get(_GDAL_NODATA)).strip(" \0"))
    except ValueError:
        return None


def fill_no_data(
    values: Shaped[ndarray, "height width bands"], tags: Mapping[int, Any]
) -> Shaped[ndarray, "height width bands"]:
    """Give pixels without data the median of each band, in place, and return the values.

    A pixel has no data if all bands have the value that the file states, or if that is NaN, one of
    them. Large maps are filled by the same rule from a sample of their pixels (`maps.MapBands`).

    Args:
        values: All bands of the file, in its type.
        tags: Tags of the file by number.
    """
    no_data = stated_no_data(tags)
    if no_data is None or tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # values are inverted
        return values
    if np.isnan(no_data):
        missing = np.isnan(values).any(axis=2)
    else:
        with np.errstate(over="ignore"):  # what no value of the type can be
            wanted = values.dtype.type(no_data) if values.dtype.kind == "f" else no_data
        missing = (values == wanted).all(axis=2)
    if missing.any():
        known = values[~missing]
        values[missing] = np.quantile(known, 0.5, axis=0, method="lower") if len(known) else 0
    return values
