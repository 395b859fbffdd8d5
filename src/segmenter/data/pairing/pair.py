"""Finding images and the masks that belong to them, in folders and in list files.

What does not pair up is not raised but handed back as problems: training refuses them, the data
check lists them all.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segmenter.data.decoding.image_formats import MASK_SUFFIXES, describe_passed_over
from segmenter.data.masks.problems import Problem, errors_in
from segmenter.data.pairing.annotation_exports import recognise_export
from segmenter.data.pairing.file_names import FileNames
from segmenter.data.pairing.items import Item, Pairing, same_name, without_mask
from segmenter.data.pairing.layouts import IMAGE_FOLDERS, LAYOUT, Place, choose_ending, find_places
from segmenter.data.pairing.lists import ListReader
from segmenter.data.pairing.unread_lists import refuse_unread_lists
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError

_ONLY_SPLIT = "all"


def find_pairs(root: Path) -> Pairing:
    """The items of each split, in either form of a data set.

    Lists win over folders: a folder of images with a `train.txt` beside it is split by the list.

    Raises:
        UserError: If `root` is in neither form.
    """
    if root.is_file():
        export = recognise_export(root)
        if export:
            raise UserError(export)
        return _list_reader(folder_of(root)).read([root])
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    reader = _list_reader(root)
    lists = reader.find_lists()
    if lists:
        found = reader.read(lists)
        if len(found.splits) == 1:
            refuse_unread_lists(root, lists, reader.masks)
        return found
    places = find_places(root)
    if not places:
        export = recognise_export(root)
        if export:
            raise UserError(export)
        name = "masks" if (root / "images").is_dir() else "images"
        raise UserError(f"{root} has no folder {name!r}; {LAYOUT}")
    found = _pair_folders(root, places)
    if found.splits.keys() == {_ONLY_SPLIT}:
        refuse_unread_lists(root, (), reader.masks)
    return found


def _list_reader(root: Path) -> ListReader:
    places = find_places(root) if root.is_dir() else []
    place = places[0] if len(places) == 1 else Place(root / "images", root / "masks")
    return ListReader(root, FileNames(place.images), FileNames(place.masks, MASK_SUFFIXES))


def folder_of(path: Path) -> Path:
    """The folder of the data set that a list belongs to: a list may lie in `splits`."""
    folders = [
        folder
        for folder in path.parents[:3]
        if any((folder / name).is_dir() for name in IMAGE_FOLDERS)
    ]
    return next(iter(folders), path.parent)


def refuse_problems(found: Pairing, way_out: str = "") -> None:
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
        f"{len(alike)} of {num_images} images have no mask; the first: {first.message}"
        f"{hint}{way_out}"
    )


def _pair_folders(root: Path, places: Sequence[Place]) -> Pairing:
    """Items of all folders; the folders in `images` are splits if no image lies beside."""
    counts: Counter[str] = Counter()
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for place in places:
        for name, item in _pair_place(place, problems, counts).items():
            full = f"{place.split}/{name}" if place.split else name
            items[full] = Item(full, item.image, item.mask)
    problems.sort(key=lambda problem: problem.paths)
    if counts:
        message = f"{root}: {describe_passed_over(counts)}"
        problems.append(Problem("format-not-read", message, (root,)))
    return Pairing(_by_split(items), tuple(problems))


def _pair_place(place: Place, problems: list[Problem], counts: Counter[str]) -> dict[str, Item]:
    """The items of two folders, by their names."""
    found = walk_images(place.images, passed_over=counts)
    images = sorted(found, key=lambda path: path.as_posix())
    if not images:
        raise UserError(f"no image in {place.images}; {describe_passed_over(counts) or LAYOUT}")
    masks: dict[str, list[Path]] = {}
    in_masks = walk_images(place.masks, suffixes=MASK_SUFFIXES, passed_over=counts)
    for path in sorted(in_masks):
        masks.setdefault(_name(path, place.masks), []).append(path)
    names = {image: _name(image, place.images) for image in images}
    files = [(name, image.relative_to(place.images).as_posix()) for image, name in names.items()]
    ending = choose_ending(files, masks)

    items: dict[str, Item] = {}
    taken = set()
    for (name, file), image in zip(files, images, strict=True):
        mask_name = file if ending is None else name + ending
        taken.add(mask_name)
        if name in items:
            problems.append(same_name(items[name].image, image))
        elif mask_name not in masks:
            problems.append(without_mask(image, place.masks / f"{mask_name}.png"))
        else:
            mask, *others = _png_or_all(masks[mask_name])
            items[name] = Item(name, image, mask)
            if others:
                message = f"{mask} and {others[0]} are masks of one image; keep one"
                problems.append(Problem("several-masks", message, (mask, *others)))
    for name in masks.keys() - taken:
        message = f"{masks[name][0]} has no image; expected {place.images / name}.jpg"
        problems.append(Problem("mask-without-photo", message, tuple(masks[name])))
    return items


def _by_split(items: dict[str, Item]) -> dict[str, tuple[Item, ...]]:
    flat = [item for name, item in items.items() if "/" not in name]
    if len(flat) == len(items):
        return {_ONLY_SPLIT: tuple(items.values())}
    if flat:
        raise UserError(
            f"{flat[0].image} lies beside split folders; move it into one of them, or take the "
            "images of all out of their folders"
        )
    splits: dict[str, list[Item]] = {}
    for name, item in items.items():
        splits.setdefault(name.split("/")[0], []).append(item)
    return {split: tuple(members) for split, members in splits.items()}


def _png_or_all(candidates: list[Path]) -> list[Path]:
    """The masks of an image, only the PNGs where there are any."""
    return [path for path in candidates if path.suffix.lower() == ".png"] or candidates


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
