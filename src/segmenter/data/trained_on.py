"""The images that a model was trained on, known by their content.

They are listed in a file beside the model: `trained-on.txt` in the folder of a training run, and
`NAME.trained-on.txt` for a model of `segmenter fit`, whose folder may hold other models.

A line is the size of an image's file in bytes and the first 64 bits of its SHA-256, both
hexadecimal. Names are not kept: they differ from one copy of a data set to the next.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segmenter.files.outputs import write_new

TRAINED_ON = "trained-on.txt"
"""File beside the models of a run."""
_MAX_BYTES = 1 << 28
_NUM_THREADS = 4


def own_list(model: Path) -> Path:
    """Return the file that lists what a fitted model was trained on."""
    return model.with_suffix(f".{TRAINED_ON}")


def write_trained_on(folder: Path, images: Sequence[Path], start: Path | None = None) -> None:
    """Add images to the list in a run's folder.

    Args:
        folder: Folder of the run.
        images: What it trains on.
        start: The model that it starts from; what that one was trained on is added too.

    Raises:
        UserError: If the list cannot be written.
    """
    _write(folder / TRAINED_ON, read_trained_on(folder), images, start, overwrite=True)


def write_own_list(
    model: Path, images: Sequence[Path], start: Path | None = None, *, overwrite: bool = False
) -> None:
    """Write the list of one model.

    Args:
        model: Its file.
        images: What it was trained on.
        start: The model that it started from; what that one was trained on is added.
        overwrite: Replace a list that is there.

    Raises:
        UserError: If the list cannot be written.
    """
    _write(own_list(model), set(), images, start, overwrite=overwrite)


def read_trained_on(place: Path) -> set[str]:
    """Return the list in a run's folder, or that of a model; empty if there is none.

    Args:
        place: A folder, or the file of a model: then the list in its folder counts as well.
    """
    if place.is_dir():
        return _read(place / TRAINED_ON)
    return _read(place.parent / TRAINED_ON) | _read(own_list(place))


def count_trained_on(place: Path, images: Iterable[Path]) -> int | None:
    """Return how many images a model was trained on; None if no list says so.

    Args:
        place: As for `read_trained_on`.
        images: Files; one is only read if an image of its size was trained on.
    """
    known = read_trained_on(place)
    if not known:
        return None
    sizes = {each.partition("-")[0] for each in known}
    candidates = [path for path in images if _size(path) in sizes]
    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        return sum(each in known for each in executor.map(_fingerprint, candidates))


def trained_on_warning(model: str, place: Path, images: Sequence[Path]) -> str | None:
    """Return a line that warns of scores on images that were trained on; None if there are none.

    Args:
        model: What to call the model.
        place: As for `read_trained_on`.
        images: What it is evaluated on.
    """
    count = count_trained_on(place, images)
    if not count:
        return None
    return f"warning: {count} of {len(images)} images were trained on; scores flatter {model}"


def _write(
    path: Path, known: set[str], images: Sequence[Path], start: Path | None, *, overwrite: bool
) -> None:
    known = known | (read_trained_on(start) if start else set())
    with ThreadPoolExecutor(_NUM_THREADS) as executor:
        known.update(each for each in executor.map(_fingerprint, images) if each)
    text = "".join(f"{each}\n" for each in sorted(known))
    write_new(path, text.encode(), overwrite=overwrite)


def _read(path: Path) -> set[str]:
    """Return the lines of a list; none if it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return set()
        return set(path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return set()


def _fingerprint(path: Path) -> str | None:
    """Return the line of an image; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return f"{file.tell():x}-{digest[:16]}"
    except OSError:
        return None


def _size(path: Path) -> str | None:
    try:
        return f"{path.stat().st_size:x}"
    except OSError:
        return None
