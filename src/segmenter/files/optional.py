"""Libraries that an extra installs, and that need not be there."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from segmenter.errors import UserError

DISTRIBUTION = "vit-segmenter"
"""The name of this package where pip looks it up."""


def missing(modules: Iterable[str]) -> list[str]:
    """Return the names of those modules that are not installed."""
    return [module for module in modules if find_spec(module) is None]


def install_lines(extra: str) -> str:
    """Return what installs an extra: from the package index, and from a clone."""
    return f"pip install '{DISTRIBUTION}[{extra}]' (in a clone: pip install '.[{extra}]')"


def require(purpose: str, *modules: str, extra: str) -> None:
    """Raise an error without modules that an extra installs.

    Args:
        purpose: What needs them, in the singular, such as `a video`.
        modules: Their names, as they are imported.
        extra: The extra of this package that installs them.

    Raises:
        UserError: Naming those that are not installed, and the commands that install them.
    """
    absent = missing(modules)
    if absent:
        raise UserError(
            f"{purpose} needs {', '.join(absent)}, not installed; get it with: "
            f"{install_lines(extra)}"
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
            f"again with: {install_lines(extra)}"
        ) from None
