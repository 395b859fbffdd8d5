"""Finding photos and the masks that belong to them, in folders and in list files.

What does not pair up is not raised but handed back as problems: training refuses them, the data
check lists them all.
"""

from collections import Counter
from pathlib import Path

from segmenter.data.file_names import FileNames
from segmenter.data.formats import MASK_SUFFIXES, describe_passed_over
from segmenter.data.items import Item, Pairing, same_name, without_mask
from segmenter.data.lists import ListReader
from segmenter.data.problems import Problem, errors_in
from segmenter.data.walking import walk_images
from segmenter.errors import UserError

_ONLY_SPLIT = "all"
LAYOUT = (
    "a data set is a folder with images/NAME.jpg, masks/NAME.png and classes.yaml (split folders "
    "such as images/train and masks/train are welcome), or one with lists such as train.txt, whose "
    "lines name an image and its mask"
)


def find_pairs(root: Path) -> Pairing:
    """The items of each split, in either form of a data set.

    Lists win over folders: a folder of photos with a `train.txt` beside it is split by the list.

    Raises:
        UserError: If `root` is in neither form.
    """
    if root.is_file():
        return _list_reader(folder_of(root)).read([root])
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    reader = _list_reader(root)
    lists = reader.find_lists()
    if lists:
        return reader.read(lists)
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise UserError(f"{root} has no folder {name!r}; {LAYOUT}")
    return _pair_folders(root)


def _list_reader(root: Path) -> ListReader:
    return ListReader(root, FileNames(root / "images"), FileNames(root / "masks"))


def folder_of(path: Path) -> Path:
    """The folder of the data set that a list belongs to: a list may lie in `splits`."""
    folders = [folder for folder in path.parents[:3] if (folder / "images").is_dir()]
    return next(iter(folders), path.parent)


def refuse_problems(found: Pairing) -> None:
    """Raise the first error in how images and masks pair up, if there is any.

    Raises:
        UserError: The error, and for how many images there is no mask.
    """
    errors = errors_in(found.problems)
    if not errors:
        return
    first = errors[0]
    alike = [problem for problem in errors if problem.kind == first.kind]
    if first.kind != "photo-without-mask":
        raise UserError(first.message)
    unread = next((each for each in found.problems if each.kind == "format-not-read"), None)
    hint = f"; {unread.message}" if unread else ""
    num_images = sum(map(len, found.splits.values())) + len(alike)
    raise UserError(
        f"{len(alike)} of {num_images} images have no mask; the first: {first.message}{hint}"
    )


def _pair_folders(root: Path) -> Pairing:
    """Items of `images` and `masks`; the folders in `images` are splits if no photo lies beside."""
    counts: Counter[str] = Counter()
    found = walk_images(root / "images", passed_over=counts)
    images = sorted(found, key=lambda path: path.as_posix())
    if not images:
        others = describe_passed_over(counts)
        raise UserError(f"no image in {root / 'images'}; {others or LAYOUT}")
    masks: dict[str, list[Path]] = {}
    in_masks = walk_images(root / "masks", suffixes=MASK_SUFFIXES, passed_over=counts)
    for path in sorted(in_masks):
        masks.setdefault(_name(path, root / "masks"), []).append(path)

    items: dict[str, Item] = {}
    problems = []
    for image in images:
        name = _name(image, root / "images")
        if name in items:
            problems.append(same_name(items[name].image, image))
        elif name not in masks:
            problems.append(without_mask(image, root / "masks" / f"{name}.png"))
        else:
            mask, *others = _png_or_all(masks[name])
            items[name] = Item(name, image, mask)
            if others:
                message = f"{mask} and {others[0]} are masks of one image; keep one"
                problems.append(Problem("several-masks", message, (mask, *others)))
    taken = {_name(image, root / "images") for image in images}
    for name in masks.keys() - taken:
        message = f"{masks[name][0]} has no photo; expected {root / 'images' / name}.jpg"
        problems.append(Problem("mask-without-photo", message, tuple(masks[name])))
    problems.sort(key=lambda problem: problem.paths)
    if counts:
        message = f"{root}: {describe_passed_over(counts)}"
        problems.append(Problem("format-not-read", message, (root,)))
    return Pairing(_by_split(items), tuple(problems))


def _by_split(items: dict[str, Item]) -> dict[str, tuple[Item, ...]]:
    flat = [item for name, item in items.items() if "/" not in name]
    if len(flat) == len(items):
        return {_ONLY_SPLIT: tuple(items.values())}
    if flat:
        raise UserError(
            f"{flat[0].image} lies beside split folders; move it into one of them, or take the "
            "photos of all out of their folders"
        )
    splits: dict[str, list[Item]] = {}
    for name, item in items.items():
        splits.setdefault(name.split("/")[0], []).append(item)
    return {split: tuple(members) for split, members in splits.items()}


def _png_or_all(candidates: list[Path]) -> list[Path]:
    """The masks of a photo, only the PNGs where there are any."""
    return [path for path in candidates if path.suffix.lower() == ".png"] or candidates


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
