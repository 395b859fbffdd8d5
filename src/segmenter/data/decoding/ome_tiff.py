"""OME-TIFF: channels that lie in pages of their own, as an XML text in the first page says.

https://ome-model.readthedocs.io/en/stable/ome-tiff/specification.html
"""

from io import BufferedReader, BytesIO
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL.TiffImagePlugin import COMPRESSION, IMAGEDESCRIPTION

from segmenter.data.decoding.pages import walk_pages
from segmenter.data.decoding.tiff_bands import TiffLayout, read_layout, read_tiff
from segmenter.data.decoding.tiff_layout import read_tags
from segmenter.errors import UserError
from segmenter.files.xml import parse_xml
from segmenter.image_spec import MAX_BANDS, ImageType

_MAX_XML_BYTES = 16 << 20
_MOST_PAGES = 1 << 16
_MOST_PLANES = 1 << 24
_JPEG = 7
_REMEDY = "save each image as one TIFF file of all channels"


class OmeImage(NamedTuple):
    """The first image of an OME-TIFF, at its first depth and time."""

    layouts: list[TiffLayout]
    """Layout of the page of each channel, in their order."""
    num_images: int
    """Images, depths and times in the file, of which this is the first."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.layouts[0].height, self.layouts[0].width

    @property
    def type(self) -> ImageType:
        """Return the bands of all pages together, and their type."""
        return ImageType(sum(each.bands for each in self.layouts), self.layouts[0].type.dtype)


def read_ome(file: BytesIO | BufferedReader, name: str) -> OmeImage | None:
    """Read where the channels of a TIFF lie; None where one page holds them all.

    Args:
        file: Open file; its position stays.
        name: What errors call it.

    Raises:
        UserError: If the XML is damaged, or a channel lies in another file or not where it says.
    """
    place = file.tell()
    try:
        text = _description(file)
        return None if text is None else _read_image(file, text, name)
    finally:
        file.seek(place)


def read_ome_values(
    data: bytes, image: OmeImage, name: str
) -> Shaped[ndarray, "height width bands"]:
    """Decode all channels, in the type of the file and the byte order of the machine.

    Raises:
        UserError: As `read_tiff`.
    """
    dtype = image.layouts[0].dtype.newbyteorder("=")
    values = np.empty((*image.size, image.type.bands), dtype)
    first = 0
    for layout in image.layouts:
        values[:, :, first : first + layout.bands] = read_tiff(data, layout, name)
        first += layout.bands
    return values


def _description(file: BytesIO | BufferedReader) -> bytes | None:
    """Return the XML of an OME-TIFF; None if it is another TIFF, or its tags are damaged."""
    try:
        text = read_tags(file).get(IMAGEDESCRIPTION, "")
    except Exception:  # whatever damage does to tags; who reads the pixels says what is wrong
        return None
    start = str(text)[:1000]
    is_ome = "<OME " in start or "<OME:OME " in start
    return str(text).strip("\0 \r\n\t").encode("latin-1", "replace") if is_ome else None


def _read_image(file: BytesIO | BufferedReader, text: bytes, name: str) -> OmeImage | None:
    what = f"the OME-XML of {name}"
    if len(text) > _MAX_XML_BYTES:
        raise UserError(f"{what} has {len(text)} bytes; at most {_MAX_XML_BYTES} are read")
    root = parse_xml(text, what)
    if any(_tag(each) == "BinaryOnly" for each in root):
        raise UserError(f"{name} is described by another file, its companion; {_REMEDY}")
    pixels = [part for each in root if _tag(each) == "Image" for part in each]
    pixels = [each for each in pixels if _tag(each) == "Pixels"]
    if not pixels:
        raise UserError(f"{what} describes no image; {_REMEDY}")
    planes = _Planes(pixels[0], what)
    if planes.num_channels == 1:
        return None
    pages = planes.pages(root.get("UUID"), name)
    others = [_Planes(each, what) for each in pixels[1:]]
    num_images = sum(each.num_images for each in (planes, *others))
    return OmeImage(_layouts(file, pages, name), num_images)


def _layouts(file: BytesIO | BufferedReader, pages: list[int], name: str) -> list[TiffLayout]:
    """Return the layout of pages by their numbers, which must be alike."""
    offsets = [page.offset for page in walk_pages(file, max(pages) + 1)]
    if len(offsets) <= max(pages):
        raise UserError(
            f"{name} is cut or damaged: it has {len(offsets)} pages, and a channel lies in page "
            f"{max(pages) + 1}"
        )
    layouts = [read_layout(file, name, offsets[page]) for page in pages]
    first = layouts[0]
    for page, each in zip(pages, layouts, strict=True):
        if each[:4] != first[:4]:
            raise UserError(
                f"{name} has channels of different kinds: page {pages[0] + 1} has {first.height} x "
                f"{first.width} pixels of {first.type}, and page {page + 1} {each.height} x "
                f"{each.width} of {each.type}; {_REMEDY}"
            )
        if each.tags.get(COMPRESSION) == _JPEG and each.bands > 1:
            raise UserError(f"{name} holds JPEG of {each.bands} bands in several pages; {_REMEDY}")
    return layouts


class _Planes:
    """The planes of an image: which page holds which channel.

    Args:
        pixels: The XML's element.
        what: What errors call the XML.
    """

    def __init__(self, pixels: Element, what: str) -> None:
        self._pixels, self._what = pixels, what
        sizes = {axis: self._number(pixels, f"Size{axis}", 1) for axis in "ZCT"}
        samples = [
            self._number(each, "SamplesPerPixel", 1) for each in pixels if _tag(each) == "Channel"
        ]
        self.num_channels = len(samples) or sizes["C"]
        self.num_images = sizes["Z"] * sizes["T"]
        self._order = pixels.get("DimensionOrder", "XYCZT")
        if sorted(self._order) != sorted("XYCZT") or self._order[:2] != "XY":
            raise UserError(f"{what}: DimensionOrder is {self._order[:20]!r}; {_REMEDY}")
        if self.num_channels > MAX_BANDS:
            raise UserError(
                f"{what} has {self.num_channels} channels; at most {MAX_BANDS} are read"
            )
        sizes["C"] = self.num_channels
        self._steps: dict[str, int] = {}
        self._count = 1
        for axis in self._order[2:]:
            self._steps[axis] = self._count
            self._count *= sizes[axis]
        if self._count > _MOST_PLANES:
            raise UserError(f"{what} has {self._count} planes; at most {_MOST_PLANES} are read")

    def pages(self, own_id: str | None, name: str) -> list[int]:
        """Return the number of the page, from 0, of each channel at the first depth and time.

        Args:
            own_id: UUID of the file; planes with another lie in another file.
            name: What errors call the file.
        """
        step = self._steps["C"]
        found: dict[int, int] = {}
        parts = [each for each in self._pixels if _tag(each) == "TiffData"]
        for part in parts or [Element("TiffData")]:
            first = sum(
                self._number(part, f"First{axis}", 0) * step for axis, step in self._steps.items()
            )
            page = self._number(part, "IFD", 0)
            count = self._number(part, "PlaneCount", 1 if part.get("IFD") else self._count)
            end = min(first + count, self.num_channels * step)
            held = range(-(-first // step) * step, end, step)
            link = next((each for each in part if _tag(each) == "UUID"), None)
            if held and link is not None and own_id is not None and link.text != own_id:
                other = link.get("FileName") or "another file"
                raise UserError(f"{name} has channels that lie in {other[:200]}; {_REMEDY}")
            found |= {plane // step: page + plane - first for plane in held}
        for channel in range(self.num_channels):
            if channel not in found:
                raise UserError(
                    f"{self._what} does not say where channel {channel} lies; {_REMEDY}"
                )
        pages = [found[channel] for channel in range(self.num_channels)]
        if max(pages) >= _MOST_PAGES:
            raise UserError(f"{self._what} names page {max(pages)}; at most {_MOST_PAGES} are read")
        return pages

    def _number(self, element: Element, key: str, default: int) -> int:
        text = element.get(key, str(default))
        least = 0 if key.startswith("First") or key == "IFD" else 1
        if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise UserError(f"{self._what}: {key} is {text[:20]!r}, not a number from {least}")
        return int(text)


def _tag(element: Element) -> str:
    """Return the name of an element, without its namespace."""
    return element.tag.rpartition("}")[2]
