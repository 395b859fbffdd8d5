"""`python -m segmenter` is the `segmenter` command."""

from segmenter.cli import main

main()
