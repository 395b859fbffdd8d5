"""Text from outside in what rich prints."""

from rich import markup

from segmenter.text import visible


def escape(text: str) -> str:
    """Text that neither rich nor a terminal obeys."""
    return markup.escape(visible(text))
