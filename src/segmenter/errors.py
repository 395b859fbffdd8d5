"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake of the user: the command shows its message as one line and exits with status 2.

    A message says what is wrong, what was given, what is allowed, and what to do.
    """
