"""The log of a run as files: `log.jsonl`, and the same numbers as a table in `log.csv`."""

import csv
import errno
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from segmenter.files.outputs import write_atomically

LogLine = dict[str, int | float | None]
"""`step`, and some of `NUMBERS`; none where a number was not finite, which JSON cannot say."""

NUMBERS = (
    "train/loss",
    "train/lr",
    "train/grad_norm",
    "train/images_per_second",
    "train/data_wait_share",
    "train/memory_gib",
    "val/miou",
)
"""All that is ever logged, in the order of the table's columns."""

_MAX_BYTES = 2**28

_COLUMNS: tuple[str, ...] = ("step", *NUMBERS)


class RunLog:
    """Appends lines to `log.jsonl` and `log.csv`, and opens them so that no step is there twice.

    A run that died wrote lines after its last checkpoint. As it will take these steps again, the
    lines are cut away; what they said is the same as what will be written.

    Args:
        folder: The run's.
        start: Steps done; what was logged after them is cut away.

    Raises:
        OSError, UserError: If the files cannot be written.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self._lines_path, self._table_path = folder / "log.jsonl", folder / "log.csv"
        written = read_log(self._lines_path)
        self.last_logged: dict[str, int] = {}
        """The last step at which each number was ever logged, cut away or not."""
        for line in written:
            self.last_logged |= dict.fromkeys(line.keys() - {"step"}, _step(line))
        kept = [line for line in written if _step(line) <= start]
        write_atomically(self._lines_path, "".join(map(_json_line, kept)).encode())
        header = dict(zip(_COLUMNS, _COLUMNS, strict=True))
        write_atomically(self._table_path, _rows([header, *kept]))

    def append(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of a step, each one of `NUMBERS`, as one more line and row.

        Raises:
            OSError: If they cannot be written.
        """
        finite = {name: _finite(value) for name, value in numbers.items()}
        line: LogLine = {"step": step, **finite}
        for path, data in (
            (self._lines_path, _json_line(line).encode()),
            (self._table_path, _rows([line])),
        ):
            with path.open("ab") as file:
                file.write(data)


def read_log(path: Path) -> list[LogLine]:
    """Return the lines of a `log.jsonl`; none if the file does not exist. Cut lines are skipped.

    Raises:
        OSError: If it cannot be read.
    """
    if not path.is_file():
        return []
    if path.stat().st_size > _MAX_BYTES:
        raise OSError(errno.EFBIG, "it is larger than any log", str(path))
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and type(line.get("step")) is int:
            lines.append({name: line[name] for name in _COLUMNS if _is_number(line.get(name, ""))})
    return lines


def _is_number(value: object) -> bool:
    return value is None or type(value) in (int, float)


def _step(line: LogLine) -> int:
    return int(line["step"] or 0)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json_line(line: LogLine) -> str:
    return json.dumps(line) + "\n"


def _rows(lines: Sequence[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, _COLUMNS, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
