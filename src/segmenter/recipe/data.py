"""The section `data` of a recipe: the data set and its splits."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from segmenter import numbers
from segmenter.image_spec import Bands
from segmenter.numbers import STRICT, Real, Share
from segmenter.options import Pairs


class DataRecipe(BaseModel):
    """The data set and its splits."""

    model_config = STRICT

    root: str
    """Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a published one,
    such as `ade20k:data/ADEChallengeData2016`."""
    train: Annotated[tuple[str, ...], Field(min_length=1)] = ("train",)
    """Splits to train on."""
    val: str | None = "val"
    """Split to evaluate on during training. None: no scores; only the last model is kept."""
    hold_out: Annotated[Real, numbers.INNER_SHARE] = 0.1
    """Where the data has no `val` split: the share of `train` that takes its place, chosen by a
    hash of the file names."""
    max_unreadable: Share = 0.01
    """Largest share of training images that may be unreadable. Others are drawn in their place;
    above this share, the run stops."""
    images: str | None = None
    """Pattern of the images, such as `img/{}.jpg`, where `{}` is what the names of image and mask
    share. None: found from the names of folders and files."""
    masks: str | None = None
    """Pattern of the masks, such as `labels/{}_mask.png`; only together with `images`."""
    pairing_note: bool = True
    """Say by which rule images and masks were paired, unless they have one name in `images` and
    `masks`."""
    bands: Bands | Literal["all"] | None = None
    """Bands of the image files that the model sees, counted from 1 and in this order, such as
    `[4, 3, 2]`; `all`: every band in its own type. None: RGB of 8 bits where the files are that,
    else `all`."""

    @property
    def pairs(self) -> Pairs:
        """The patterns that pair images and masks."""
        return Pairs(images=self.images, masks=self.masks, pairing_note=self.pairing_note)
