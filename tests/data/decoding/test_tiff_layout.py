"""TIFFs that are whole, but of bands and types that are not read as images."""

import struct
from pathlib import Path

import pytest

from segmenter.data.decoding.decode import decode_image, read_header
from segmenter.errors import UserError


def tiff(bands: int, bits: int, kind: int) -> bytes:
    """One pixel of some bands."""
    tags = [(256, 3, 1), (257, 3, 1), (259, 3, 1), (262, 3, 1), (277, 3, bands), (278, 3, 1)]
    data = b"\1\0" * 64
    end = 8 + len(data)
    rows = {code: struct.pack("<HHIHH", code, form, 1, value, 0) for code, form, value in tags}
    rows[273] = struct.pack("<HHII", 273, 4, 1, 8)
    rows[279] = struct.pack("<HHII", 279, 4, 1, bands * bits // 8)
    extra = struct.pack(f"<{bands}H", *[bits] * bands) + struct.pack(f"<{bands}H", *[kind] * bands)
    place = end + 2 + 12 * (len(rows) + 2) + 4
    rows[258] = struct.pack("<HHII", 258, 3, bands, place)
    rows[339] = struct.pack("<HHII", 339, 3, bands, place + 2 * bands)
    listed = b"".join(rows[code] for code in sorted(rows))
    start = b"II*\0" + struct.pack("<I", end) + data
    return start + struct.pack("<H", len(rows)) + listed + bytes(4) + extra


@pytest.mark.parametrize(
    ("bands", "bits", "kind", "said"),
    [
        (5, 8, 1, "5 bands of uint8"),
        (3, 32, 3, "3 bands of float32"),
        (7, 16, 1, "7 bands of uint16"),
        (3, 16, 2, "3 bands of int16"),
    ],
)
def test_other_bands_are_named_with_a_way_to_convert_them(
    bands, bits, kind, said, tmp_path: Path
) -> None:
    path = tmp_path / "field.tif"
    path.write_bytes(tiff(bands, bits, kind))
    with pytest.raises(UserError, match=f"field.tif holds {said}, .*gdal_translate"):
        decode_image(path)
    header = read_header(path)
    assert (header.is_rgb, header.image_type.bands) == (False, bands)
