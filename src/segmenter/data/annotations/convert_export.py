"""`segmenter prepare FORMAT SOURCE OUT`: make a data set of an export of an annotation tool."""

import contextlib
import os
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.class_table import (
    UNLABELLED_CHOICES,
    ClassTable,
    build_classes,
)
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.rasterise import IGNORED, UNLABELLED, Painted, paint
from segmenter.data.annotations.regions import Shape
from segmenter.data.annotations.source import ARCHIVE_SUFFIXES, Source, naming, split_of
from segmenter.data.annotations.tally import Tally
from segmenter.data.decoding.decode import Header, read_header
from segmenter.data.folder import CLASSES_FILE
from segmenter.data.new_data_set import (
    aside,
    check_new,
    check_outside,
    make_folder,
    rename,
    write_file,
)
from segmenter.data.unpack import count_bytes, unpack
from segmenter.drawing import label_map_png
from segmenter.errors import UserError
from segmenter.files.outputs import stays_inside, write_atomically
from segmenter.options import Annotations, Outlines, Unlabelled
from segmenter.terminal import command_line, progress_bar
from segmenter.text import visible

_ONLY_SPLIT = "all"
_UNPACKED, _MADE = "unpacked", "set"
_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "data"}
"""Folders of images in exports, whose names say nothing of an image."""
_MAX_RATIO, _SPARED_BYTES = 100, 1 << 28
"""Largest ratio of unpacked files to their archive, and the bytes allowed besides."""
_MAX_NAME_BYTES = 250


@dataclass(frozen=True)
class _Item:
    """One image, and where it goes."""

    exported: ExportedImage
    image: Path
    header: Header
    split: str | None
    name: str
    """Path inside the split, with suffix."""
    has_centres: bool = False
    """True: coordinates of polygons are centres of pixels."""

    @property
    def size(self) -> Size:
        """Height and width, upright."""
        return self.header.size

    @property
    def file(self) -> str:
        """Path inside `images`."""
        return f"{self.split}/{self.name}" if self.split else self.name

    def shapes(self) -> Sequence[Shape]:
        """Read its shapes."""
        shapes = self.exported.read_shapes(self.size)
        return [shape.with_centres() for shape in shapes] if self.has_centres else shapes

    @property
    def stem(self) -> str:
        """Path inside `masks`, without suffix."""
        return os.path.splitext(self.file)[0]  # noqa: PTH122 - a path of slashes


@dataclass
class Conversion:
    """The data set that was made of an export."""

    out: Path
    splits: Counter[str] = field(default_factory=Counter)
    """Images, or windows of maps, by split."""
    classes: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)
    """Lines for the user: overlaps, shapes that were cut off, shapes painted otherwise."""


def convert_annotations(
    name: str,
    source: Path,
    out: Path,
    *,
    images: Path | None = None,
    unlabelled: Unlabelled | None = None,
    outlines: Outlines = "edges",
) -> Conversion:
    """Make a data set (images, masks, classes.yaml) of an export; all of it, or nothing.

    Args:
        name: A key of `ANNOTATION_FORMATS`.
        source: The export: a folder, a file in it, or a zip or tar archive.
        out: The folder to make; it must not be there.
        images: The folder that holds the images, if it is not the export itself.
        unlabelled: What pixels are that no shape covers.
        outlines: What the coordinates of polygons are: edges or centres of pixels.

    Raises:
        UserError: If something is in the way, missing, damaged or not clear.
    """
    for path in (source, images):
        if path is not None and not path.exists():
            raise UserError(f"no such file or folder: {path}")
    if images is not None and not images.is_dir():
        raise UserError(f"--images takes a folder, and {images} is a file")
    check_new(out)
    for folder in filter(None, (source, images)):
        check_outside(out, folder)
    with aside(out) as made_aside:
        unpacked = str(made_aside / _UNPACKED)
        try:
            given = Source(_unpacked(source, made_aside / _UNPACKED), images)
            export = ANNOTATION_FORMATS[name].read(given)
            items = _place(export, given)
            table = build_classes(export, unlabelled, str(source))
            bare = _without_annotation(items, table)
            if outlines == "centres":
                items = [replace(item, has_centres=True) for item in items]
            tally = _write(items, table, made_aside / _MADE)
            write_atomically(made_aside / _MADE / CLASSES_FILE, table.classes.to_yaml().encode())
            remarks = [*export.remarks, *bare, *_turned(items, export), *tally.remarks()]
            remarks += _left_out(items, export, given)
            rename(made_aside / _MADE, out)
        except UserError as error:  # of an archive: the folder it was unpacked into is gone
            raise UserError(str(error).replace(unpacked, str(source))) from None
    splits = Counter(item.split or _ONLY_SPLIT for item in items)
    remarks = [remark.replace(unpacked, str(source)) for remark in remarks]
    return Conversion(out, splits, table.classes.names, remarks)


def run_preparation(name: str, source: Path, out: Path, options: Annotations) -> None:
    """Make a data set of an export, and say what was made.

    Raises:
        UserError: As `convert_annotations`.
    """
    made = convert_annotations(
        name,
        source,
        out,
        images=options.images,
        unlabelled=options.unlabelled,
        outlines=options.outlines,
    )
    print_made(made)


def print_made(made: Conversion) -> None:
    """Say what was made, what to know of it, and how to look it through."""
    counts = ", ".join(
        f"{count} {'images' if split == _ONLY_SPLIT else split}"
        for split, count in sorted(made.splits.items())
    )
    classes = ", ".join(map(visible, made.classes[:20]))
    more = f" and {len(made.classes) - 20} more" if len(made.classes) > 20 else ""
    print(f"{made.out}: {counts}; {len(made.classes)} classes: {classes}{more}")
    for remark in made.remarks:
        print(f"note: {visible(remark)}")
    print(f"look it through with: {command_line('check', made.out)}")


def _unpacked(source: Path, into: Path) -> Path:
    """Return the source; of an archive, the folder that it was unpacked into.

    Raises:
        UserError: If the archive is damaged, leads out of the folder, or holds too much.
    """
    if not source.is_file():
        return source
    if not (zipfile.is_zipfile(source) or tarfile.is_tarfile(source)):
        if source.name.lower().endswith(ARCHIVE_SUFFIXES):
            raise UserError(
                f"{source} is not a zip or tar archive, or it is cut or damaged; export it again"
            )
        return source
    most = min(
        _MAX_RATIO * source.stat().st_size + _SPARED_BYTES,
        shutil.disk_usage(into.parent).free,
    )
    total = count_bytes(source)
    if total > most:
        raise UserError(
            f"{source} would unpack to {total} bytes, which is more than {_MAX_RATIO} times its "
            "size, or than the disk has; unpack it yourself and give the folder"
        )
    with progress_bar(f"unpacking {source.name}") as show:
        unpack(source, into, show)
    into.mkdir(exist_ok=True)  # an archive may hold nothing
    return into


def _place(export: AnnotationSet, source: Source) -> list[_Item]:
    """Find each image, and where it goes.

    Raises:
        UserError: If an image is missing, unclear, of another size, or two would share a mask.
    """
    if not export.images:
        raise UserError(f"{source.given} contains no image; export it again with its annotations")
    items = [_find(exported, source) for exported in export.images]
    first: dict[str, _Item] = {}
    of_image: dict[Path, _Item] = {}
    for item in _with_splits(items):
        other = of_image.setdefault(item.image, item)
        if other is not item:
            raise UserError(
                f"{item.exported.where} and {other.exported.where} both annotate "
                f"{item.image}; give one of the files"
            )
        other = first.setdefault(item.stem, item)
        if other is not item:
            raise UserError(
                f"{item.exported.where} and {other.exported.where} would share the mask "
                f"{item.stem}.png; rename one of {item.image} and {other.image}, or remove it"
            )
        if not stays_inside(item.file) or len(os.fsencode(item.image.name)) > _MAX_NAME_BYTES:
            raise UserError(
                f"{item.image} has a name that is too long or leaves the folder; rename it"
            )
    return list(first.values())


def _find(exported: ExportedImage, source: Source) -> _Item:
    finder = source.finder
    with naming(exported.where):
        image = exported.path or finder.find(exported.name, exported.near, exported.split)
    header = read_header(image)
    if exported.size is not None and all(exported.size) and exported.size != header.size:
        hint = "it was resized, or the annotations belong to another"
        if header.swaps_sides and exported.size == header.size[::-1]:
            hint = "it is turned upright as its EXIF data say, and the annotations are not"
        raise UserError(
            f"{exported.where} is of {exported.size[0]} x {exported.size[1]} pixels (height x "
            f"width), and {image} has {header.size[0]} x {header.size[1]}: {hint}"
        )
    root = next(
        (each for each in (finder.root, source.root) if image.is_relative_to(each)), image.parent
    )
    *folders, file = image.relative_to(root).parts
    split = exported.split
    kept = [
        each
        for each in folders
        if each.lower() not in _FOLDERS and not (split and split in {each, split_of(each)})
    ]
    return _Item(exported, image, header, split, "/".join([*kept, file]))


def _with_splits(items: Sequence[_Item]) -> Sequence[_Item]:
    """Give images a split by their folders, where the export has none.

    A data set has images in `images` itself, or all of them in folders, which are splits.
    """
    if any(item.split for item in items):
        return [replace(item, split=item.split or _ONLY_SPLIT) for item in items]
    folders = [item.name.split("/")[0] if "/" in item.name else "" for item in items]
    if all(map(split_of, folders)):
        return [
            replace(item, split=split_of(folder), name=item.name.removeprefix(f"{folder}/"))
            for item, folder in zip(items, folders, strict=True)
        ]
    return [replace(item, split=_ONLY_SPLIT) for item in items] if any(folders) else items


def _without_annotation(items: Sequence[_Item], table: ClassTable) -> list[str]:
    """Say how many images have no shape.

    Raises:
        UserError: If nobody has said what they are.
    """
    empty = [item.image for item in items if not item.exported.is_labelled]
    if not empty:
        return []
    found = f"{len(empty)} of {len(items)} images have no annotation, such as {empty[0]}"
    if table.unlabelled is None:
        raise UserError(f"{found}; choose what they are: {UNLABELLED_CHOICES}")
    is_ignored = table.unlabelled == table.classes.ignore_index
    return [f"{found}; all of their pixels {'are ignored' if is_ignored else 'become background'}"]


def _write(items: Sequence[_Item], table: ClassTable, made: Path) -> Tally:
    """Write masks and link images."""
    tally = Tally()
    classes = table.classes
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar("painting", len(items), *columns) as advance:
        for item in items:
            shapes = item.shapes()
            painted = paint(shapes, item.size, table.indices)
            tally.add(item.image, shapes, painted)
            labels = _labels(painted, item, table)
            png = label_map_png(labels, classes.colors, classes.ignore_index)
            write_file(made / "masks" / f"{item.stem}.png", png)
            _link(item.image, made / "images" / item.file)
            advance()
    return tally


def _labels(painted: Painted, item: _Item, table: ClassTable) -> np.ndarray:
    """Return labels as a mask holds them.

    Raises:
        UserError: If there are pixels without a shape, and nobody has said what they are.
    """
    labels, classes = painted.labels, table.classes
    is_open = labels == UNLABELLED
    if table.unlabelled is None:
        if is_open.any():
            raise UserError(
                f"{item.image}: no shape covers {100 * float(is_open.mean()):.2g} % of its pixels; "
                f"choose what such pixels are: {UNLABELLED_CHOICES}"
            )
    else:
        labels[is_open] = table.unlabelled
    labels[painted.labels == IGNORED] = classes.ignore_index
    return labels.astype(classes.label_dtype)


def _link(image: Path, to: Path) -> None:
    """Give an image a second name; where that cannot be, copy it."""
    make_folder(to.parent)
    try:
        with contextlib.suppress(OSError):
            to.hardlink_to(image.resolve())
            return
        shutil.copyfile(image, to)
    except OSError as error:
        raise UserError(f"{image} cannot be copied to {to}: {error.strerror}") from None


def _turned(items: Sequence[_Item], export: AnnotationSet) -> list[str]:
    """Say how many images are turned upright whose shapes may not be: no size tells."""
    turned = []
    for item in items:
        has_size = export.has_masks or all(item.exported.size or (0, 0))
        is_told = has_size and item.header.swaps_sides and item.size[0] != item.size[1]
        if item.header.is_turned and not is_told:
            turned.append(item.image)
    if not turned:
        return []
    return [
        f"EXIF data turn {len(turned)} images upright, such as {turned[0]}, and no size tells "
        "whether their shapes were drawn on them so; compare some images and masks by eye"
    ]


def _left_out(items: Sequence[_Item], export: AnnotationSet, source: Source) -> list[str]:
    """Say how many images of the folder the export does not tell of."""
    if export.has_masks or (not source.given.is_dir() and source.images is None):
        return []
    known = {item.image for item in items}
    others = [path for path in source.finder.all if path not in known]
    if not others:
        return []
    return [f"{len(others)} images are not in the export, and are left out, such as {others[0]}"]
