"""Opening a data set by what a user names, and finding the items of a published one."""

import re
from pathlib import Path

from segmenter.classes import Classes
from segmenter.data.folder import LabelledFolder, open_folder
from segmenter.data.masks.problems import Problem
from segmenter.data.pairing.items import Item, Pairing, same_name, without_mask
from segmenter.data.pairing.pair import refuse_problems
from segmenter.data.pairing.walking import walk_images
from segmenter.data.published import SETS, find_set
from segmenter.data.published.published_set import PublishedSet, Split
from segmenter.errors import UserError
from segmenter.options import Pairs

_NO_PATTERNS = Pairs()

# Two characters or more before the colon: `C:\data` is a drive.
_NAMED = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)


def open_data(
    given: str,
    classes: Classes | None = None,
    *,
    keep_problems: bool = False,
    pairs: Pairs = _NO_PATTERNS,
) -> LabelledFolder:
    """Find the items and classes of what a user names: NAME:PATH, a folder, or a list file.

    Args:
        given: As the user wrote it.
        classes: Instead of those of the data set.
        keep_problems: As `open_folder` has it.
        pairs: As `open_folder` has it; a published data set takes none.

    Raises:
        UserError: If the name is unknown, or the folder is not laid out as it should be.
    """
    named = split_name(given)
    if named is None:
        return open_folder(Path(given), classes, keep_problems=keep_problems, pairs=pairs)
    if pairs.images is not None or pairs.masks is not None:
        raise UserError(
            f"{given} has a layout of its own; --images and --masks are for other folders"
        )
    return open_published(*named, classes, keep_problems=keep_problems)


def split_name(given: str) -> tuple[PublishedSet, Path] | None:
    """Return the published data set and the folder in `NAME:PATH`; nothing where no name is given.

    Raises:
        UserError: If no data set has this name.
    """
    match = _NAMED.fullmatch(given)
    if match is None:
        return None
    name, path = match.groups()
    if name not in SETS and Path(given).exists():
        return None
    published = find_set(name)
    if not path:
        raise UserError(f"{given} names no folder; write {name}:PATH")
    return published, Path(path)


def open_published(
    published: PublishedSet,
    root: Path,
    classes: Classes | None = None,
    *,
    keep_problems: bool = False,
) -> LabelledFolder:
    """Find the items of a data set; splits that are not there are skipped.

    Args:
        published: Which one.
        root: Its folder.
        classes: Instead of its own.
        keep_problems: Leave out what does not pair up, and say so in the result, instead of
            refusing the data set.

    Raises:
        UserError: If no split is there, or images and masks do not pair up.
    """
    if not root.is_dir():
        raise UserError(
            f"no such folder: {root}; `segmenter prepare {published.name} FOLDER` prints the "
            "NAME:PATH to give"
        )
    layout = f"{published.name} is laid out as {published.layout}"
    splits: dict[str, tuple[Item, ...]] = {}
    problems: list[Problem] = []
    for name, split in published.splits.items():
        if (root / (split.names or split.images)).exists():
            splits[name], found = _find_items(root, split, layout)
            if not keep_problems:
                refuse_problems(Pairing({name: splits[name]}, tuple(found)))
            problems += found
    if not any(name in published.counts for name in splits):
        first = next(iter(published.splits.values()))
        what = f"file {first.names!r}" if first.names else f"folder {first.images!r}"
        raise UserError(f"{root} has no {what}; {layout}")
    return LabelledFolder(
        root,
        classes or published.classes(),
        splits,
        scored="val",
        problems=tuple(problems),
        is_published=True,
    )


def _find_items(root: Path, split: Split, layout: str) -> tuple[tuple[Item, ...], list[Problem]]:
    """Return the items of one split, in the order of names or of the list, and the problems."""
    for folder in (split.images, split.masks):
        if folder is not None and not (root / folder).is_dir():
            raise UserError(f"{root} has no folder {folder!r}; {layout}")
    images = root / split.images
    files = _files(images)
    problems: list[Problem] = []
    if split.names is not None:
        files, problems = _listed(root / split.names, images, files)
    if not files and not problems:
        raise UserError(f"no image in {images}; {layout}")
    files = _without_twins(files, images, problems)
    # The folder of the split is part of a name; images of a list have no such folder.
    prefix = "" if split.names else f"{images.name}/"
    items = []
    masks = None if split.masks is None else root / split.masks
    present = set() if masks is None else set(_files(masks))
    for file in files:
        mask = _stem(file).removesuffix(split.image_ending) + split.mask_ending + ".png"
        if masks is not None and mask not in present:
            problems.append(without_mask(images / file, masks / mask))
            continue
        path = None if masks is None else masks / mask
        items.append(Item(prefix + _stem(file), images / file, path))
    return tuple(items), problems


def _files(folder: Path) -> list[str]:
    """Return images in a folder, as paths inside it: text, which is quick for many."""
    start = len(folder.as_posix()) + 1
    return sorted(path.as_posix()[start:] for path in walk_images(folder))


def _stem(file: str) -> str:
    """Without the suffix, which every image has."""
    return file.rpartition(".")[0]


def _listed(path: Path, images: Path, files: list[str]) -> tuple[list[str], list[Problem]]:
    """Return the images that a file names, one a line, and the lines that name none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a list of names: it is not text (UTF-8)") from None
    present = set(files)
    listed: list[str] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file = f"{line.strip()}.jpg"
        if file in present:
            listed.append(file)
        else:
            message = f"{path}, line {number}: no such file: {images / file}"
            problems.append(Problem("missing-file", message, (path,)))
    if not listed and not problems:
        raise UserError(f"{path} names no image; each line is a name, without suffix")
    return listed, problems


def _without_twins(files: list[str], images: Path, problems: list[Problem]) -> list[str]:
    """Leave out an image that stands twice in a list, and one that differs only in suffix."""
    first: dict[str, str] = {}
    for file in files:
        other = first.setdefault(_stem(file), file)
        if other is file:
            continue
        path = images / file
        if other == file:
            problems.append(Problem("same-name", f"{path} is listed twice; keep one", (path,)))
        else:
            problems.append(same_name(images / other, path))
    return list(first.values())
