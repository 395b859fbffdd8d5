"""Description of a published data set; each file beside this one describes one."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmenter.classes import Classes


@dataclass(frozen=True)
class Split:
    """Places of the images and masks of one split, as paths inside the data set."""

    images: str
    masks: str | None
    """None: images that can only be predicted, because their masks are not published."""
    names: str | None = None
    """A file with the name of an image (NAME.jpg) a line; None: all images in `images`."""
    image_ending: str = ""
    """Ending of an image's name, which its mask's name does not have."""
    mask_ending: str = ""
    """Ending of a mask's name, in place of `image_ending`."""


@dataclass(frozen=True)
class Archive:
    """A file in which (a part of) a data set is published."""

    file: str
    url: str | None
    """None: it cannot be had without a login."""
    sha1: str | None = None
    """SHA-1 that others have published. None: unknown."""
    into: str | None = "."
    """The folder it is unpacked into, inside the one it lies in; None: it is not unpacked."""
    convert: str | None = None
    """Maker of masks that no archive holds, as `module:function`; see `prepare_set`."""


@dataclass(frozen=True)
class Submission:
    """Submission to the server of a benchmark: PNGs with the mask values of the data set."""

    file_name: re.Pattern[str] | None = None
    """Prefix of an image's name, by which the server finds it. None: any name."""
    form: str = ""
    """The same in words, for messages."""


@dataclass(frozen=True)
class PaperScoring:
    """Name and resizing of a data set in the paper's own code, rstrudel/segmenter."""

    name: str
    short_side: int
    """Short side of a scored image, in pixels."""
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
    """Folder of the data set after its archives are unpacked."""
    archives: tuple[Archive, ...]
    site: str
    """Page with its terms, which is also the source of its archives."""
    has_checkpoints: bool = False
    """True: Segmenters trained on it are published; a model with as many classes is one of them."""
    rstrudel: PaperScoring | None = None
    """None: the paper's own code does not have it."""
    paddleseg: str | None = None
    """PaddleSeg's name for it. None: its configs of Segmenter do not have it."""
    submission: Submission | None = None
    """None: no server scores its test images from label maps."""

    def classes(self) -> "Classes":
        """Read its classes: names, colours, mask values."""
        from segmenter.class_lists import read_class_list

        return read_class_list(self.name)

    @property
    def default_root(self) -> str:
        """Return the folder in which recipes look for it."""
        return f"data/{self.name if self.folder == '.' else self.folder}"
