"""How a published data set is described; each file beside this one describes one."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmenter.classes import Classes


@dataclass(frozen=True)
class Split:
    """Where the images and masks of one split lie, as paths inside the data set."""

    images: str
    masks: str | None
    """None: images that can only be predicted, because their masks are not published."""
    names: str | None = None
    """A file with the name of an image (NAME.jpg) a line; None: all images in `images`."""
    image_ending: str = ""
    """What an image's name ends with, and ..."""
    mask_ending: str = ""
    """... what its mask's name has instead."""


@dataclass(frozen=True)
class Archive:
    """A file in which (a part of) a data set is published."""

    file: str
    url: str | None
    """None: it cannot be had without a login."""
    sha1: str | None = None
    """As others have published it; None: not known."""
    into: str | None = "."
    """The folder it is unpacked into, inside the one it lies in; None: it is not unpacked."""
    convert: str | None = None
    """What makes masks of one that is not unpacked, as `module:function`; see `prepare_set`."""


@dataclass(frozen=True)
class Submission:
    """What the server of a benchmark takes: PNGs with the mask values of the data set."""

    file_name: re.Pattern[str] | None = None
    """How the name of an image begins, by which the server finds it; None: by any name."""
    form: str = ""
    """The same in words, for messages."""


@dataclass(frozen=True)
class PaperScoring:
    """How the paper's own code, rstrudel/segmenter, names a data set and resizes its images."""

    name: str
    short_side: int
    """Of a scored image, in pixels."""
    max_ratio: float
    """The largest ratio of the long side to the short one, beyond which the image shrinks."""


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """One published data set: all that is known of it, but for its classes."""

    name: str
    """Also that of its list in `class_lists`."""
    splits: dict[str, Split]
    counts: dict[str, int]
    """Images in the labelled splits."""
    layout: str
    """The layout in words, for messages."""
    folder: str
    """Where the data set lies after its archives were unpacked."""
    archives: tuple[Archive, ...]
    site: str
    """Where its terms stand, and where its archives come from."""
    has_checkpoints: bool = False
    """Whether Segmenters trained on it are published; what has as many classes is one of them."""
    rstrudel: PaperScoring | None = None
    """None: the paper's own code does not have it."""
    paddleseg: str | None = None
    """What PaddleSeg calls it; None: its configs of Segmenter do not have it."""
    submission: Submission | None = None
    """None: no server scores its test images from label maps."""

    def classes(self) -> "Classes":
        """Read its classes: names, colours, mask values."""
        from segmenter.class_lists import read_class_list

        return read_class_list(self.name)

    @property
    def default_root(self) -> str:
        """Where recipes look for it."""
        return f"data/{self.name if self.folder == '.' else self.folder}"
