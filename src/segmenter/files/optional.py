"""Libraries that an extra installs, and that need not be there."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

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


def import_optional(purpose: str, module: str, *, extra: str) -> Any:
    """Import a module that an extra installs.

    Args:
        purpose: What needs it, in the singular, such as `a video`.
        module: Its name.
        extra: The extra of this package that installs it.

    Raises:
        UserError: If it is not installed, or fails to be imported.
    """
    require(purpose, module.partition(".")[0], extra=extra)
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs {module}, which fails to be imported: {str(error)[:200]}; install it "
            f"again with: pip install 'vit-segmenter[{extra}]'"
        ) from None
