"""The exceptions that end a command with one line and no traceback."""


class UserError(ValueError):
    """A mistake of the user: the command shows its message as one line and exits with status 2.

    A message says what is wrong, what was given, what is allowed, and what to do.
    """


class EarlyExit(Exception):  # noqa: N818 - nothing need be wrong
    """End the command with an exit status of its own; the message, if any, is shown as one line."""

    exit_status: int


USER_ERROR, PARTLY_DONE = 2, 3
"""Exit statuses: a mistake of the user; some images could not be read, all others are done."""
