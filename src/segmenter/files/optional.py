"""Libraries that an extra installs, and that need not be there."""

from collections.abc import Iterable
from importlib.util import find_spec

from segmenter.errors import UserError


def missing(modules: Iterable[str]) -> list[str]:
    """Return the names of those modules that are not installed."""
    return [module for module in modules if find_spec(module) is None]


def require(purpose: str, *modules: str, extra: str) -> None:
    """Refuse to go on without modules that an extra installs.

    Args:
        purpose: What needs them, in the singular, such as `a video`.
        modules: Their names, as they are imported.
        extra: The extra of this package that installs them.

    Raises:
        UserError: Naming those that are not installed, and the command that installs them.
    """
    absent = missing(modules)
    if absent:
        raise UserError(
            f"{purpose} needs {', '.join(absent)}, not installed; get it with: "
            f"pip install 'vit-segmenter[{extra}]'"
        )
