"""The command line: what `segmenter` takes, and how it ends."""

from segmenter.commands.main import app, main, parse

__all__ = ["app", "main", "parse"]
