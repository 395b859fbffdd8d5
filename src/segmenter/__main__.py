"""`python -m segmenter` is the `segmenter` command."""

from segmenter.commands import main

main()
