"""The interface of an export format, which writes a model for other programs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segmenter.errors import UserError
from segmenter.extras.export.formats import ExportOptions
from segmenter.model import Segmenter
from segmenter.runtimes.exported import ExportFacts


@dataclass(frozen=True)
class Export:
    """Content to write, once it is known to compute what the model does."""

    contents: dict[Path, bytes]
    """Each file, in the order in which they are written."""
    graph: Path
    """The file that runtimes open."""
    computed: Segmenter
    """Model that the graph computes, perhaps with other weights."""
    facts: ExportFacts
    notes: dict[str, Any] = field(default_factory=dict)
    """Entries of the report beside parity and scores."""
    remarks: Sequence[str] = ()
    """Lines for the user."""


class ExportFormat(ABC):
    """Makes the files of one format."""

    def check(self, options: ExportOptions) -> None:
        """Refuse options that the format does not have, before any work is done.

        Raises:
            UserError: If one is given.
        """
        if options.onnxruntime_web is not None:
            raise UserError(f"--onnxruntime-web is for --format web, not for {options.format}")

    @abstractmethod
    def targets(self, out: Path) -> Sequence[Path]:
        """Return the files that an export to `out` writes."""

    @abstractmethod
    def build(self, model: Segmenter, name: str, out: Path, options: ExportOptions) -> Export:
        """Make the files.

        Args:
            model: What to export.
            name: The name or file that it was loaded by.
            out: Where the export goes.
            options: How it is made.

        Raises:
            UserError: If the model cannot be had in this format.
        """
