"""The labels of one image: two layers, painted and accepted, and each step undone or redone.

The layers are a function of the operations alone, so that a record of these restores them.
"""

import base64
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Int16, UInt8
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.extras.labelling.runs import Box, Runs, box_of, paint_runs, read_runs

NOTHING, NOT_SURE = 255, 254
"""Values of a layer beside the indices of classes: not labelled, and marked as not sure."""
MAX_CLASSES = 250
Tool = Literal["brush", "eraser", "polygon", "fill", "grow"]
_BY_A_MODEL = {"grow"}
"""Tools whose regions a model chose: they go where accepted proposals go."""
_SNAPSHOT_EVERY = 32

Shape = tuple[int, int]


@dataclass(frozen=True)
class Stroke:
    """Pixels that a person gave a value, or took one from."""

    tool: Tool
    value: int
    runs: Runs

    @property
    def box(self) -> Box:
        """Around its pixels."""
        return box_of(self.runs)

    def apply(self, painted: ndarray, accepted: ndarray) -> None:
        """Change the layers."""
        if self.value == NOTHING:
            paint_runs(painted, self.runs, NOTHING)
            paint_runs(accepted, self.runs, NOTHING)
        elif self.tool in _BY_A_MODEL:
            paint_runs(accepted, self.runs, self.value)
        else:
            paint_runs(painted, self.runs, self.value)

    def recoded(self, table: Int16[ndarray, "256"]) -> "Stroke":
        """Return the same stroke with another number for its class.

        Raises:
            UserError: If the table has none for it.
        """
        return replace(self, value=int(_recode(np.uint8(self.value), table)))

    def entry(self) -> dict[str, Any]:
        """Return what the record holds of it."""
        runs = self.runs.ravel().tolist()
        return {"kind": "stroke", "tool": self.tool, "value": self.value, "runs": runs}


@dataclass(frozen=True)
class Acceptance:
    """Labels of a proposal, or of a mask made elsewhere, that a person took over."""

    origin: Literal["proposal", "mask"]
    box: Box
    packed: bytes
    """Compressed labels of the box; `NOTHING` where nothing changes."""
    replaces: bool = False
    """Take the place of all that was painted and accepted before; `NOTHING` then clears."""

    @classmethod
    def of_mask(cls, labels: UInt8[ndarray, "height width"]) -> "Acceptance":
        """Return what makes the labels of an image those of a mask."""
        height, width = labels.shape
        return cls("mask", (0, 0, height, width), zlib.compress(labels.tobytes(), 1), replaces=True)

    @classmethod
    def of_proposal(cls, labels: UInt8[ndarray, "height width"]) -> "Acceptance | None":
        """Return the acceptance of all labels but `NOTHING`; None if there are none."""
        rows, columns = (np.flatnonzero((labels != NOTHING).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        packed = zlib.compress(labels[top:bottom, left:right].tobytes(), 1)
        return cls("proposal", (int(top), int(left), int(bottom), int(right)), packed)

    def apply(self, painted: ndarray, accepted: ndarray) -> None:
        """Change the layers; what was painted stays, unless these labels replace all."""
        if self.replaces:
            painted[:] = accepted[:] = NOTHING
        top, left, bottom, right = self.box
        given = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        given = given.reshape(bottom - top, right - left)
        np.copyto(accepted[top:bottom, left:right], given, where=given != NOTHING)

    def recoded(self, table: Int16[ndarray, "256"]) -> "Acceptance":
        """Return the same labels with other numbers for their classes.

        Raises:
            UserError: If the table has none for one of them.
        """
        labels = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        return replace(self, packed=zlib.compress(_recode(labels, table).tobytes(), 1))

    def entry(self) -> dict[str, Any]:
        """Return what the record holds of it."""
        labels = base64.b64encode(self.packed).decode()
        more = {"replaces": True} if self.replaces else {}
        head = {"kind": "accept", "origin": self.origin, **more}
        return {**head, "box": list(self.box), "labels": labels}


Operation = Stroke | Acceptance


def read_operation(entry: dict[str, Any], shape: Shape) -> Operation:
    """Return the operation of an entry of a record.

    Raises:
        UserError: If it does not fit the image.
    """
    if entry["kind"] == "stroke":
        return Stroke(entry["tool"], entry["value"], read_runs(entry["runs"], shape))
    top, left, bottom, right = entry["box"]
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise UserError("accepted labels lie outside of the image")
    packed = base64.b64decode(entry["labels"])
    replaces = entry.get("replaces", False)
    return Acceptance(entry["origin"], (top, left, bottom, right), packed, replaces)


def read_values(entry: dict[str, Any]) -> set[int]:
    """Return the values that an entry of a record gives to pixels."""
    if entry.get("kind") == "stroke":
        return {entry["value"]}
    if entry.get("kind") == "accept":
        return set(zlib.decompress(base64.b64decode(entry["labels"])))
    return set()


def _recode(values: Any, table: Int16[ndarray, "256"]) -> Any:
    recoded = table[values]
    if (recoded < 0).any():
        raise UserError(f"the class with number {np.min(values[recoded < 0])} is not known")
    return recoded.astype(np.uint8)


@dataclass
class Layers:
    """The layers of an image, and what led to them.

    Args:
        shape: Height and width of the image.
    """

    shape: Shape
    _operations: list[Operation] = field(default_factory=list)
    _num_active: int = 0
    """Operations that count; those after them are undone."""
    _snapshots: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Number of operations -> both layers after them, compressed."""

    def __post_init__(self) -> None:
        """Begin with empty layers."""
        self.painted = np.full(self.shape, NOTHING, dtype=np.uint8)
        self.accepted = self.painted.copy()

    @property
    def labels(self) -> UInt8[ndarray, "height width"]:
        """The label of each pixel: the painted one, else the accepted one."""
        return np.where(self.painted == NOTHING, self.accepted, self.painted)

    @property
    def can_undo(self) -> bool:
        """Return True if there is a step to undo."""
        return self._num_active > 0

    @property
    def can_redo(self) -> bool:
        """Return True if there is a step to redo."""
        return self._num_active < len(self._operations)

    def add(self, operation: Operation) -> Box:
        """Apply a new operation, and return the box that it changes; what was undone is gone."""
        del self._operations[self._num_active :]
        for count in [each for each in self._snapshots if each > self._num_active]:
            del self._snapshots[count]
        self._operations.append(operation)
        return self._step()

    def redo(self) -> Box:
        """Apply again what was undone last.

        Raises:
            UserError: If nothing was.
        """
        if not self.can_redo:
            raise UserError("there is nothing to redo")
        return self._step()

    def undo(self) -> Box:
        """Take the last operation back, and return the box that it had changed.

        Raises:
            UserError: If there is none.
        """
        if not self.can_undo:
            raise UserError("there is nothing to undo")
        self._num_active -= 1
        start = self._num_active // _SNAPSHOT_EVERY * _SNAPSHOT_EVERY
        self._restore(start)
        for operation in self._operations[start : self._num_active]:
            operation.apply(self.painted, self.accepted)
        return self._operations[self._num_active].box

    def _restore(self, count: int) -> None:
        """Bring both layers to the snapshot after this number of operations."""
        packed = self._snapshots.get(count)
        for index, layer in enumerate((self.painted, self.accepted)):
            if packed is None:
                layer[:] = NOTHING
            else:
                kept = np.frombuffer(zlib.decompress(packed[index]), dtype=np.uint8)
                layer[:] = kept.reshape(self.shape)

    def _step(self) -> Box:
        operation = self._operations[self._num_active]
        operation.apply(self.painted, self.accepted)
        self._num_active += 1
        if self._num_active % _SNAPSHOT_EVERY == 0:
            self._snapshots[self._num_active] = (
                zlib.compress(self.painted.tobytes(), 1),
                zlib.compress(self.accepted.tobytes(), 1),
            )
        return operation.box
