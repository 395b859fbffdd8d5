"""One labelled image, as every part of the data code hands it on."""

from typing import NamedTuple

from jaxtyping import Shaped
from numpy import ndarray


class Sample(NamedTuple):
    """An image and the label of each of its pixels."""

    image: Shaped[ndarray, "height width channels"]
    """RGB, uint8 from 0 to 255; or values in the type of the files, and float32 after augmentation,
    where `Classes.image` says so."""
    labels: Shaped[ndarray, "height width"]
    """Class indices; `Classes.ignore_index` where a pixel does not count. `Classes.label_dtype`."""
