"""The exceptions that end a command with one line and no traceback."""

from segmenter.spelling import spelled


class UserError(ValueError):
    """A mistake of the user: the command shows its message as one line and exits with status 2.

    A message says what is wrong, what was given, what is allowed, and what to do. It names options
    as flags, which Python shows as keywords (`spelling.py`).

    Example:
        try:
            segmenter.load("missing.safetensors")
        except segmenter.UserError as error:
            print(error)
    """

    def __str__(self) -> str:
        """Return the message, with options as this process names them."""
        return spelled(super().__str__())


class EarlyExit(Exception):  # noqa: N818 - nothing need be wrong
    """End the command with an exit status of its own; the message, if any, is shown as one line."""

    exit_status: int

    def __str__(self) -> str:
        """Return the message, with options as this process names them."""
        return spelled(super().__str__())


USER_ERROR, PARTLY_DONE = 2, 3
"""Exit statuses: a mistake of the user; some images could not be read, all others are done."""
