"""OME-TIFF: channels in pages of their own."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.decode import Limits, decode_image, read_header, read_image
from segmenter.errors import UserError
from segmenter.image_spec import ImageType, choose_bands
from tests.helpers import paths
from tests.helpers.band_images import spec_of

GOLDEN = paths.GOLDEN / "ome"
PAGES = np.random.default_rng(0).integers(0, 250, (12, 20, 30)).astype(np.uint8)
XML = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{root}>{image}</OME>'
IMAGE = '<Image ID="Image:0"><Pixels {sizes}>{inside}</Pixels></Image>'
SIZES = 'DimensionOrder="{order}" SizeX="30" SizeY="20" SizeZ="2" SizeC="3" SizeT="2"'


def ome_tiff(
    sizes: str = SIZES.format(order="XYCZT"),
    inside: str = "<TiffData/>",
    root: str = "",
    image: str = IMAGE,
    pages: np.ndarray = PAGES,
) -> bytes:
    """A TIFF of pages, of which the first has this XML."""
    text = XML.format(root=root, image=image.format(sizes=sizes, inside=inside))
    first, *others = (Image.fromarray(each) for each in pages)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=others, description=text)
    return file.getvalue()


@pytest.mark.parametrize("name", ["zcyx", "cyx", "tcyx"])
def test_channels_are_what_tifffile_reads(name: str) -> None:
    expected = np.load(GOLDEN / f"{name}.npy")
    found = read_image(GOLDEN / f"{name}.ome.tif", image=spec_of(expected))
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.num_pages == (1 if name == "cyx" else 2)
    header = read_header(GOLDEN / f"{name}.ome.tif")
    assert (header.size, header.num_pages) == ((20, 30), found.num_pages)
    assert header.image_type == ImageType(expected.shape[2], expected.dtype.name)
    assert not header.is_rgb


def test_channels_are_chosen_by_number_and_order() -> None:
    expected = np.load(GOLDEN / "zcyx.npy")
    found = decode_image(GOLDEN / "zcyx.ome.tif", image=spec_of(expected, (4, 1)))
    np.testing.assert_array_equal(found, expected[:, :, [3, 0]])


def test_one_page_of_red_green_and_blue_is_a_picture() -> None:
    assert read_header(GOLDEN / "rgb.ome.tif").is_rgb
    np.testing.assert_array_equal(decode_image(GOLDEN / "rgb.ome.tif"), np.load(GOLDEN / "rgb.npy"))


@pytest.mark.parametrize("order", ["XYCZT", "XYCTZ", "XYZCT", "XYTCZ", "XYZTC", "XYTZC"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_channels_lie_where_the_order_of_dimensions_says(order: str, is_listed: bool) -> None:
    sizes = {"Z": 2, "C": 3, "T": 2}
    array = PAGES.reshape(*(sizes[axis] for axis in order[:1:-1]), 20, 30)
    first = np.moveaxis(array, order[:1:-1].index("C"), 0)[:, 0, 0]
    listed = "<TiffData/>"
    if is_listed:
        places = np.ndindex(*(sizes[axis] for axis in order[:1:-1]))
        named = [dict(zip(order[:1:-1], place, strict=True)) for place in places]
        listed = "".join(
            f'<TiffData FirstZ="{at["Z"]}" FirstC="{at["C"]}" FirstT="{at["T"]}" IFD="{page}"/>'
            for page, at in enumerate(named)
        )
    data = ome_tiff(SIZES.format(order=order), listed)
    expected = np.moveaxis(first, 0, 2)
    found = read_image(data, image=spec_of(expected))
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.num_pages == 4


def test_a_model_of_rgb_refuses_channels_in_words() -> None:
    with pytest.raises(UserError, match="OME-TIFF with 3 bands of uint8, and RGB of 8 bits is wan"):
        decode_image(ome_tiff())


OTHER = '<TiffData IFD="0"><UUID FileName="b.ome.tif">urn:b</UUID></TiffData>'
FAULTS = {
    "is described by another file": {"image": '<BinaryOnly MetadataFile="a.ome.xml"/>'},
    "describes no image": {"image": "<Plate/>"},
    r"channels that lie in b\.ome\.tif": {"inside": OTHER, "root": ' UUID="urn:a"'},
    "does not say where channel 1 lies": {"inside": '<TiffData IFD="0"/>'},
    "a channel lies in page 90": {"inside": '<TiffData IFD="87" PlaneCount="3"/>'},
    "names page 999999; at most": {"inside": '<TiffData IFD="999997" PlaneCount="3"/>'},
    "SizeC is '-3', not a number": {"sizes": 'DimensionOrder="XYCZT" SizeC="-3"'},
    "SizeC is '3.5', not a number": {"sizes": 'DimensionOrder="XYCZT" SizeC="3.5"'},
    "DimensionOrder is 'CXYZT'": {"sizes": 'DimensionOrder="CXYZT" SizeC="3"'},
    "has 999 channels; at most 256": {"sizes": 'DimensionOrder="XYCZT" SizeC="999"'},
    "has 300000000 planes": {"sizes": 'DimensionOrder="XYCZT" SizeC="3" SizeZ="100000000"'},
    "is not XML": {"inside": "<TiffData"},
    "declares a document type": {"inside": "<!-- <!DOCTYPE x> -->"},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_one_line_with_what_to_do(message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    path.write_bytes(ome_tiff(**FAULTS[message]))
    image = choose_bands("all", ImageType(3, "uint8"))
    for read in (read_header, lambda path: read_image(path, image=image)):
        with pytest.raises(UserError, match=message) as caught:
            read(path)
        assert "a.ome.tif" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_channels_of_different_sizes_are_refused() -> None:
    file = io.BytesIO()
    text = XML.format(root="", image=IMAGE.format(sizes='SizeC="2"', inside="<TiffData/>"))
    pages = [Image.new("L", (30, 20)), Image.new("L", (31, 20))]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], description=text)
    with pytest.raises(UserError, match=r"page 1 has 20 x 30 pixels .* and page 2 20 x 31"):
        decode_image(file.getvalue(), image=choose_bands("all", ImageType(2, "uint8")))


def test_a_claim_of_too_many_values_is_refused_before_they_are_decoded() -> None:
    with pytest.raises(UserError, match="20 x 30 pixels; at most 599"):
        decode_image(
            ome_tiff(),
            image=choose_bands("all", ImageType(3, "uint8")),
            limits=Limits(max_pixels=599),
        )


def test_no_damaged_byte_raises_anything_but_a_user_error() -> None:
    whole = ome_tiff()
    image = choose_bands("all", ImageType(3, "uint8"))
    rng = np.random.default_rng(0)
    for number in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = int(rng.integers(256))
        with contextlib.suppress(UserError):
            decode_image(bytes(data[: len(data) - number * 5 % 100]), image=image)
