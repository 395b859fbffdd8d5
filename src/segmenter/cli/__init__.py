"""The command line: what `segmenter` takes, and how it ends."""

from segmenter.cli.main import app, main

__all__ = ["app", "main"]
