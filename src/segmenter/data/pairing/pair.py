"""Finding images and the masks that belong to them, in folders and in list files.

What does not pair up is not raised but handed back as problems: training refuses them, the data
check lists them all.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segmenter.data.decoding.image_formats import (
    ARRAY_SUFFIXES,
    MASK_SUFFIXES,
    describe_passed_over,
)
from segmenter.data.masks.problems import Problem, errors_in
from segmenter.data.pairing.annotation_exports import recognise_export
from segmenter.data.pairing.file_names import FileNames, composed
from segmenter.data.pairing.items import Item, Pairing, same_name, without_mask
from segmenter.data.pairing.layouts import IMAGE_FOLDERS, LAYOUT, Place, choose_ending, find_places
from segmenter.data.pairing.lists import ListReader
from segmenter.data.pairing.name_rules import SAME_NAME, FittingRule, NameRule, find_rules
from segmenter.data.pairing.pairing_notes import (
    PlacePairs,
    ambiguity,
    describe_pairing,
    place_patterns,
)
from segmenter.data.pairing.patterns import check_pairs, find_by_pattern
from segmenter.data.pairing.rivals import (
    refuse_rival_folders,
    rival_rule,
    second_masks,
    several_masks,
)
from segmenter.data.pairing.unread_lists import refuse_unread_lists
from segmenter.data.pairing.walking import walk_images
from segmenter.data.pairing.wider_layouts import find_beside, find_wider_places
from segmenter.errors import UserError
from segmenter.options import Pairs

_ONLY_SPLIT = "all"


_NO_PAIRS = Pairs()


def find_pairs(root: Path, pairs: Pairs = _NO_PAIRS) -> Pairing:
    """Return the items of each split, in either form of a data set.

    Lists win over folders: a folder of images with a `train.txt` beside it is split by the list.

    Args:
        root: The data set.
        pairs: Patterns of images and masks, if the user names them outright.

    Raises:
        UserError: If `root` is in neither form, or it is not clear what belongs together.
    """
    check_pairs(pairs)
    found = _find_pairs(root) if pairs.images is None else _pair_by_pattern(root, pairs)
    return found if pairs.pairing_note else replace(found, note="")


def _find_pairs(root: Path) -> Pairing:
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
        return _read_lists(root, reader, lists)
    counts: Counter[str] = Counter()
    places = find_places(root) or find_wider_places(root)
    if not places:
        export = recognise_export(root)
        if export:
            raise UserError(export)
        places = find_beside(root, counts)
    if not places:
        raise UserError(_without_places(root))
    refuse_rival_folders(root, [place for place in places if place.files is None])
    found = _pair_folders(root, places, counts)
    if found.splits.keys() == {_ONLY_SPLIT}:
        is_apart = len(places) == 1 and places[0].files is None
        refuse_unread_lists(root, (), places[0].masks if is_apart else reader.masks)
    return found


def _without_places(root: Path) -> str:
    """Return the error for a folder that is not a data set; inside one, name the folder to give."""
    above = root.absolute().parent
    inside = {path for place in find_places(above) for path in (place.images, place.masks)}
    if root.absolute() in inside:
        return f"{root} is one folder of a data set; give the folder that holds it, {above}"
    name = "masks" if (root / "images").is_dir() else "images"
    return f"{root} has no folder {name!r}; {LAYOUT}"


def _read_lists(root: Path, reader: ListReader, lists: Sequence[Path]) -> Pairing:
    found = reader.read(lists)
    if reader.pairs_by_name:
        refuse_rival_folders(root, find_places(root))
    if len(found.splits) == 1:
        refuse_unread_lists(root, lists, reader.masks)
    return found


def _pair_by_pattern(root: Path, pairs: Pairs) -> Pairing:
    """Return the items that patterns name; a list beside them would contradict.

    Raises:
        UserError: If the data set is a list or has one, or nothing fits.
    """
    if not root.is_dir():
        what = "is a list, which names its images itself" if root.is_file() else "is not a folder"
        raise UserError(f"{root} {what}; --images and --masks are for a folder")
    lists = _list_reader(root).find_lists()
    if lists:
        raise UserError(
            f"{lists[0]} is a list of images; give the list itself, or move it out of the data set "
            "to have --images and --masks name them"
        )
    counts: Counter[str] = Counter()
    items, problems = find_by_pattern(root, pairs, counts)
    found = Pairing(_by_split(items), (*problems, *_not_read(root, counts)))
    if found.splits.keys() == {_ONLY_SPLIT}:
        refuse_unread_lists(root, (), root / "masks")
    return found


def _list_reader(root: Path) -> ListReader:
    places = find_places(root) if root.is_dir() else []
    place = places[0] if len(places) == 1 else Place(root / "images", root / "masks")
    return ListReader(root, FileNames(place.images), FileNames(place.masks, MASK_SUFFIXES))


def folder_of(path: Path) -> Path:
    """Return the folder of the data set that a list belongs to: a list may lie in `splits`."""
    folders = [
        folder
        for folder in path.parents[:3]
        if any((folder / name).is_dir() for name in IMAGE_FOLDERS)
    ]
    return next(iter(folders), path.parent)


def refuse_problems(found: Pairing, way_out: str = "") -> None:
    """Raise the first error in how images and masks pair up, if there is any.

    Raises:
        UserError: The error, and the number of images without a mask.
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
    if way_out and len(alike) < num_images:
        hint += "; to leave them out, list the others in train.txt, as `segmenter label` does"
    raise UserError(
        f"{len(alike)} of {num_images} images have no mask; the first: {first.message}"
        f"{hint}{way_out}"
    )


def _not_read(root: Path, counts: Counter[str]) -> list[Problem]:
    """Say how many files of formats that are not read there are, if there are any."""
    message = f"{root}: {describe_passed_over(counts)}"
    return [Problem("format-not-read", message, (root,))] if counts else []


def _pair_folders(root: Path, places: Sequence[Place], counts: Counter[str]) -> Pairing:
    """Items of all folders; the folders in `images` are splits if no image lies beside."""
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    paired = [_pair_place(root, place, problems, counts) for place in places]
    for of_place in paired:
        for name, item in of_place.items.items():
            full = f"{of_place.place.split}/{name}" if of_place.place.split else name
            items[full] = Item(full, item.image, item.mask)
    problems.sort(key=lambda problem: problem.paths)
    problems += _not_read(root, counts)
    return Pairing(_by_split(items), tuple(problems), describe_pairing(paired))


def _pair_place(
    root: Path, place: Place, problems: list[Problem], counts: Counter[str]
) -> PlacePairs:
    """Return the items of two folders, by their names.

    Raises:
        UserError: If no image is found, or two rules fit.
    """
    images, in_masks = place.files or _files_in(place, counts)
    masks = _by_name(in_masks, place.masks)
    files = {image: image.relative_to(place.images).as_posix() for image in images}
    rule, masks = _choose_rule(root, place, files, masks)
    items: dict[str, Item] = {}
    taken: dict[str, str] = {}
    for image, file in files.items():
        name = _name(image, place.images)
        mask_name = file if rule is None else _mask_name(rule, name, masks)
        owner = taken.setdefault(mask_name, name)
        twin = items.get(name) or items.get(owner)
        if twin:
            problems.append(same_name(twin.image, image))
        elif mask_name not in masks:
            problems.append(without_mask(image, place.masks / f"{mask_name}.png"))
        else:
            items[name] = Item(name, image, masks[mask_name][0])
    found = PlacePairs(place, items, len(images), rule, place_patterns(root, place, rule, items))
    left_over = masks.keys() - taken.keys()
    rival = rival_rule(left_over, items)
    if rival is not None:
        pairs = {image: mask for mask, image in taken.items() if image in items}
        chosen = FittingRule(rule or NameRule(mask=("", images[0].suffix)), pairs)
        raise UserError(ambiguity(root, place, (chosen, rival), files, masks))
    problems += [
        several_masks(masks[name], found.patterns) for name in taken if len(masks.get(name, ())) > 1
    ]
    problems += _left_over(found, {name: masks[name] for name in left_over}, files.values())
    return found


def _left_over(
    found: PlacePairs, masks: Mapping[str, list[Path]], files: Collection[str]
) -> list[Problem]:
    """Return the problems of masks that no image took: second ones, or ones without an image."""
    problems: list[Problem] = []
    second = dict(second_masks(masks.keys(), found.items, files))
    for name, paths in masks.items():
        if name in second:
            mask = second[name].mask
            problems.append(several_masks([*([mask] if mask else []), *paths], found.patterns))
            continue
        expected = found.place.images / ((found.rule and found.rule.image_of(name)) or name)
        message = f"{paths[0]} has no image; expected {expected}.jpg"
        problems.append(Problem("mask-without-photo", message, tuple(paths)))
    return problems


def _by_name(masks: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Return masks by their names; of several of one name, the commonest format comes first."""
    suffixes = Counter(path.suffix for path in masks)
    found: dict[str, list[Path]] = {}
    for path in sorted(masks, key=lambda path: (-suffixes[path.suffix], path.suffix != ".png")):
        found.setdefault(_name(path, folder), []).append(path)
    return found


def _files_in(place: Place, counts: Counter[str]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    found = walk_images(place.images, passed_over=counts)
    images = sorted(found, key=lambda path: path.as_posix())
    if not images:
        images = sorted(walk_images(place.images, suffixes=ARRAY_SUFFIXES))
        for suffix in {path.suffix.lower() for path in images}:
            counts.pop(suffix, None)
    if not images:
        raise UserError(f"no image in {place.images}; {describe_passed_over(counts) or LAYOUT}")
    masks = walk_images(place.masks, suffixes=MASK_SUFFIXES, passed_over=counts)
    return tuple(images), tuple(sorted(masks))


def _choose_rule(
    root: Path, place: Place, files: dict[Path, str], masks: dict[str, list[Path]]
) -> tuple[NameRule | None, dict[str, list[Path]]]:
    """Choose how masks are named; where no known ending fits all, the rule is found.

    Returns:
        The rule, None for masks such as `NAME.jpg.png`; and the masks, by the names to look up.

    Raises:
        UserError: If two rules fit.
    """
    names = [(_name(image, place.images), file) for image, file in files.items()]
    ending = choose_ending(names, masks)
    if ending is None:
        return None, masks
    if ending or all(name in masks for name, _ in names):
        return NameRule(mask=("", ending)), masks
    by_composed: dict[str, list[Path]] = {}
    for name, paths in masks.items():
        by_composed.setdefault(composed(name), []).extend(paths)
    rules = find_rules({composed(name) for name, _ in names}, by_composed)
    if len(rules) > 1:
        raise UserError(ambiguity(root, place, rules, files, by_composed))
    return (rules[0].rule if rules else SAME_NAME), by_composed


def _mask_name(rule: NameRule, name: str, masks: dict[str, list[Path]]) -> str:
    """Return the name that an image's mask has or should have."""
    forms = [rule.mask_of(form) for form in (name, composed(name))]
    return next((each for each in forms if each in masks), forms[0]) or name


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


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
