"""The classes of a folder by the numbers that stand for them in its records of strokes.

A number belongs to a class for good, wherever `classes.yaml` lists it, so that an edit of this file
relabels nothing. `strokes/.classes` holds the numbers.
"""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.classes import Classes
from segmenter.data.folder import CLASSES_FILE
from segmenter.errors import UserError
from segmenter.extras.labelling.journal import Journal, read_journal
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING, Operation, read_values

SUFFIX = ".strokes"  # none of those that lists of images have

Row = dict[str, Any]
"""A class: its number `id`, its `name` and its mask `values`."""


class ClassIds:
    """The numbers of the classes of a folder.

    Args:
        strokes: Its folder of records.
        classes: The classes that it has now; None: none.

    Raises:
        UserError: If a class is gone that strokes are of, or the file of numbers is damaged.
    """

    def __init__(self, strokes: Path, classes: Classes | None) -> None:
        self._strokes = strokes
        self._journal = Journal(strokes / ".classes")
        self.renamed: list[str] = []
        """Which class is taken to have another name now, one line each."""
        self.adopt(classes)

    def adopt(self, classes: Classes | None) -> None:
        """Give numbers to new classes, and save them; those of known classes stay.

        Raises:
            UserError: If a class is gone that strokes are of, or the numbers cannot be saved.
        """
        known = self._known()
        present = [_row(info.name, info.values) for info in (classes.by_index if classes else ())]
        ids = {row["name"]: row["id"] for row in known}
        if (at := _find_renamed(known, present)) is not None:
            old, new = known[at]["name"], present[at]["name"]
            ids[new] = ids.pop(old)
            self.renamed.append(f"the class {old!r} is called {new!r} now; its strokes are kept")
        names = {row["name"] for row in present}
        self._check_unused({ids.pop(name): name for name in set(ids) - names})
        free = (number for number in count() if number not in ids.values())
        rows = [{"id": ids.get(row["name"], -1), **row} for row in present]
        for row in rows:
            if row["id"] < 0:
                row["id"] = ids[row["name"]] = next(free)
        if rows != known:
            self._journal.append({"kind": "classes", "classes": rows})
        self._set_tables([row["id"] for row in rows])

    def to_record(self, operation: Operation) -> Operation:
        """Return an operation on the classes as listed now as one on their numbers."""
        return operation if self._is_plain else operation.recoded(self._id_of)

    def from_record(self, operation: Operation) -> Operation:
        """Return an operation on numbers as one on the classes as listed now.

        Raises:
            UserError: If one of the numbers is of no class.
        """
        return operation if self._is_plain else operation.recoded(self._index_of)

    def _known(self) -> list[Row]:
        return self._journal.entries[-1]["classes"] if self._journal.entries else []

    def _set_tables(self, ids: list[int]) -> None:
        self._is_plain = ids == list(range(len(ids)))
        self._id_of, self._index_of = np.full((2, 256), -1, dtype=np.int16)
        for table in (self._id_of, self._index_of):
            table[[NOT_SURE, NOTHING]] = NOT_SURE, NOTHING
        for index, number in enumerate(ids):
            self._id_of[index], self._index_of[number] = number, index

    def _check_unused(self, gone: dict[int, str]) -> None:
        """Refuse to lose classes that strokes are of; others may go."""
        if not gone:
            return
        for path in sorted(self._strokes.rglob(f"*{SUFFIX}")):
            for entry in read_journal(path)[0]:
                if lost := gone.keys() & read_values(entry):
                    name = gone[min(lost)]
                    raise UserError(
                        f"{self._strokes.parent / CLASSES_FILE} does not list the class {name!r} "
                        f"any more, and {path} has strokes of it; put the class back (to rename "
                        "it, keep its place and values, and rename one class between two starts)"
                    )


def _row(name: str, values: tuple[Any, ...]) -> Row:
    return {
        "name": name,
        "values": [value if isinstance(value, int) else [*value] for value in values],
    }


def _find_renamed(known: list[Row], present: list[Row]) -> int | None:
    """Return which class has another name, where all else is as it was; else None."""
    if len(known) != len(present):
        return None
    changed = [at for at, row in enumerate(known) if row["name"] != present[at]["name"]]
    if len(changed) != 1 or known[changed[0]]["values"] != present[changed[0]]["values"]:
        return None
    return changed[0]
