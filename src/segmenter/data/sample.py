"""One labelled image, as every part of the data code hands it on."""

from typing import NamedTuple

from jaxtyping import Shaped, UInt8
from numpy import ndarray


class Sample(NamedTuple):
    """An image and the label of each of its pixels."""

    image: UInt8[ndarray, "height width channels"]
    """RGB, 0 to 255 (or as many channels as the files have bands)."""
    labels: Shaped[ndarray, "height width"]
    """Class indices; `Classes.ignore_index` where a pixel does not count. `Classes.label_dtype`."""
