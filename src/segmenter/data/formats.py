"""The formats of image and video files: which are read, by which suffix and by which content."""

from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".avif", ".ppm", ".pgm", ".pnm"}
)
"""Suffixes, in lower case, of the image files that are read."""

MASK_SUFFIXES = IMAGE_SUFFIXES | {".npy"}
"""Suffixes, in lower case, of the mask files that are read."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".3gp", ".3g2"}
)
"""Suffixes, in lower case, of the files that are read as videos."""

UNREAD_VIDEO_SUFFIXES = frozenset(
    {".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".m2v", ".vob", ".ogv", ".ogm", ".rm"}
    | {".rmvb", ".mxf", ".dv", ".divx", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf"}
    | {".m3u8", ".mpd"}
)
"""Suffixes, in lower case, of videos and playlists that are not read: they are refused by name."""

UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".svg", ".psd"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".exr", ".hdr"}
    | {".tga", ".ico", ".pcx", ".pbm", ".pfm", ".xcf", ".eps"}
    | {".dcm", ".nii", ".npy", ".npz", ".ecw", ".sid", ".img", ".hdf", ".h5", ".mat", ".pdf"}
)
"""Suffixes, in lower case, of files that show something but are not read: they are reported."""

READ_FORMATS = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, PPM and PGM"
"""For messages."""

LOSSY_FORMATS = frozenset({"JPEG", "AVIF"})
"""As Pillow names them; in such a file the values of a mask are not safe."""

# Called by what a file begins with: `Image.open` would warn of, and cap, what `Limits` allows.
_OPENERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"RIFF": WebPImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
    # Not P1 to P3, whose numbers are text: a loop in Python would decode them.
    b"P5": PpmImageFile,
    b"P6": PpmImageFile,
}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"})
_UNREAD_STARTS = {
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "PSD",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"v/1\x01": "OpenEXR",
    b"P1": "a PBM file",
    b"P2": "a plain-text PGM file",
    b"P3": "a plain-text PPM file",
    b"P4": "a PBM file",
    b"\x1a\x45\xdf\xa3": "a video",  # Matroska, WebM
    b"FLV\x01": "a video",
    b"\x30\x26\xb2\x75": "a video",  # WMV
    b"\0\0\1\xba": "a video",  # MPEG
    b"\0\0\1\xb3": "a video",
    b"OggS": "a video",
    b".RMF": "a video",
}
NUM_MAGIC_BYTES = 12
"""So many bytes of a file tell its format."""


def find_opener(magic: bytes) -> type[ImageFile.ImageFile] | None:
    """The reader of a file that begins with these bytes; none if the format is not read."""
    if magic[4:12] in {b"ftypavif", b"ftypavis"}:
        return AvifImageFile
    if magic[8:12] == b"AVI ":  # which begins with RIFF, as WebP does
        return None
    return next((each for start, each in _OPENERS.items() if magic.startswith(start)), None)


def name_unread(magic: bytes) -> str | None:
    """The format of a file that is known but not read, such as HEIC; none if it is unknown."""
    if magic[4:8] == b"ftyp":
        return "HEIC" if magic[8:12] in _HEIC_BRANDS else "a video"
    if magic[8:12] == b"AVI ":
        return "a video"
    return next((name for start, name in _UNREAD_STARTS.items() if magic.startswith(start)), None)
