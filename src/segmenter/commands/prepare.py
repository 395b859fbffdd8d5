"""`segmenter prepare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter import options
from segmenter.commands.flags import flat
from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.published import SETS
from segmenter.errors import PARTLY_DONE, UserError
from segmenter.files.yaml import nearest

_MAPS = "maps"


def prepare(
    name: Annotated[
        str,
        Parameter(
            help=f"A published data set: {', '.join(SETS)}. Or the format of an export: "
            f"{', '.join(sorted(ANNOTATION_FORMATS))}. Or maps: GeoTIFFs."
        ),
    ],
    source: Path,
    out: Path | None = None,
    *,
    download: Annotated[bool, Parameter(group="Published data sets")] = False,
    annotations: Annotated[options.Annotations, flat("Exports")] = options.Annotations(),
    maps: Annotated[options.MapWindows, flat("Maps")] = options.MapWindows(),
) -> int | None:
    """Run `segmenter prepare`.

    Args:
        source: For an export: its folder, file or archive. For maps: a GeoTIFF, a folder of them, a
            folder with images and labels, or a text file with an image and its labels in each line.
            For a published data set: the folder of its archives, in which they are unpacked; no
            file is replaced.
        out: For an export or maps: a new folder for the data set, outside of SOURCE, whose parent
            folder exists. Images of an export become hard links, or copies if links fail.
        download: Download missing archives.
    """
    if name == _MAPS:
        _prepare_maps(source, out, maps, annotations, download=download)
        return None
    if maps != options.MapWindows():
        raise UserError(f"the options of maps are for `prepare maps`, not for {name}")
    if name in ANNOTATION_FORMATS:
        _prepare_export(name, source, out, annotations, download=download)
        return None
    return _prepare_published(name, source, out, annotations, download=download)


def _prepare_published(
    name: str,
    source: Path,
    out: Path | None,
    annotations: options.Annotations,
    *,
    download: bool,
) -> int | None:
    if name not in SETS:
        raise UserError(
            f"no published data set and no format {name!r}"
            f"{nearest(name.lower(), [*SETS, *ANNOTATION_FORMATS, _MAPS])}; the data sets are "
            f"{', '.join(SETS)}, and the formats of exports "
            f"{', '.join(sorted(ANNOTATION_FORMATS))}; maps is for GeoTIFFs"
        )
    if out is not None or annotations != options.Annotations():
        raise UserError(
            f"{name} is a published data set, which is unpacked in SOURCE; omit OUT and the "
            "options of exports"
        )
    from segmenter.data.published.prepare_set import run_preparation

    is_whole = run_preparation(name, source, may_download=download)
    return None if is_whole else PARTLY_DONE


def _prepare_export(
    name: str,
    source: Path,
    out: Path | None,
    annotations: options.Annotations,
    *,
    download: bool,
) -> None:
    if download:
        raise UserError(f"--download is for published data sets, and {name} is a format of exports")
    if out is None:
        raise UserError(f"OUT is missing: segmenter prepare {name} {source} NEW-FOLDER")
    from segmenter.data.annotations.convert_export import run_preparation

    run_preparation(name, source, out, annotations)


def _prepare_maps(
    source: Path,
    out: Path | None,
    maps: options.MapWindows,
    annotations: options.Annotations,
    *,
    download: bool,
) -> None:
    if download or annotations != options.Annotations(unlabelled=annotations.unlabelled):
        raise UserError(
            "`prepare maps` has no --download, and of the options of exports only --unlabelled; "
            "omit the others"
        )
    if out is None:
        raise UserError(f"OUT is missing: segmenter prepare maps {source} NEW-FOLDER")
    from segmenter.data.maps.prepare_maps import run_preparation

    run_preparation(source, out, maps, annotations.unlabelled)
