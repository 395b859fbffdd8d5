"""Print the lowest version of every library of the package without extras, as pip's constraints.

`make test-floor` installs them. What pyproject.toml states is the one place for each bound.
"""

import re
import tomllib
from pathlib import Path

_BOUND = re.compile(r"([\w-]+)(?:\[[\w,-]+\])?>=([\w.]+)")


def constraints(pyproject: str) -> list[str]:
    """Return `name==version.*` for each lower bound.

    The last patch of a release stands for it: few have one whose number ends there.
    """
    lines = tomllib.loads(pyproject)["project"]["dependencies"]
    bounds = dict(match.groups() for line in lines if (match := _BOUND.match(line)))
    return [f"{name}=={version}.*" for name, version in sorted(bounds.items())]


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    print("\n".join(constraints((root / "pyproject.toml").read_text(encoding="utf-8"))))
