"""Folders of runs without `--out`: `runs/NAME`, then `runs/NAME-2`, `runs/NAME-3`.

A new number is above all others of the name, so the highest number is the newest run.
"""

import itertools
import re
from pathlib import Path

from segmenter.errors import UserError
from segmenter.files.yaml import read_yaml

RUNS = Path("runs")
"""Folder of the runs, below the current folder."""


def next_folder(name: str) -> Path:
    """Return the folder for a new run of this name, without creating it."""
    return _folder(name, max(_numbered(name), default=0) + 1)


def claim_folder(name: str) -> Path:
    """Create the folder of a new run; two processes that call this at once get two folders.

    Raises:
        UserError: If it cannot be created.
    """
    for number in itertools.count(max(_numbered(name), default=0) + 1):
        folder = _folder(name, number)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # made by another process since, or spelled in other cases
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be created: {error.strerror}; give --out") from None
        return folder
    raise AssertionError("numbers do not end")


def newest_run(name: str) -> tuple[Path, int]:
    """Return the newest run of this name, and how many there are.

    Where there is none, the folder is the first that a run would have.
    """
    runs = {
        number: folder
        for number, folder in _numbered(name).items()
        if _is_run_of(folder / "recipe.yaml", name)
    }
    return (runs[max(runs)] if runs else _folder(name, 1)), len(runs)


def _folder(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


def _numbered(name: str) -> dict[int, Path]:
    """Return what lies at the folders of a name, by number."""
    pattern = re.compile(re.escape(name) + r"(?:-([2-9]|[1-9][0-9]{1,3}))?")
    try:
        paths = list(RUNS.iterdir())
    except OSError:  # there is none yet; what else is wrong shows when a folder is made
        return {}
    matches = {path: pattern.fullmatch(path.name) for path in paths}
    return {int(match[1] or 1): path for path, match in matches.items() if match}


def _is_run_of(recipe: Path, name: str) -> bool:
    """Return whether a folder holds a run of this name: `a-2` may be a name of its own."""
    if not recipe.is_file():
        return False
    try:
        content = read_yaml(recipe)
    except UserError:  # resuming says what is wrong with it
        return True
    return not isinstance(content, dict) or content.get("name", name) == name
