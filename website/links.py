"""Links of the pages: they are written for the repository, and are mended for the site.

A page may link to any file of the repository. In the site, such a file lies under `repository/`, as
text. The pages of the root have places of their own.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the repository's root, and the pages of the site that they are."""
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\(\s*<?)([^)>\s]+)")


def slug(text: str, separator: str = "-") -> str:
    """Return the name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", separator)


def _change_links(text: str, change: Callable[[str], str]) -> str:
    """Change the targets of links, but not in code."""
    kept: list[str] = []

    def hide(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\0{len(kept) - 1}\0"

    hidden = _CODE.sub(hide, text)
    changed = _LINK.sub(lambda link: link[1] + change(link[2]), hidden)
    return re.sub(r"\0(\d+)\0", lambda place: kept[int(place[1])], changed)


def _inside(target: str, page: str) -> tuple[PurePosixPath, str] | None:
    """Return where a link of a page leads in the repository, and its anchor."""
    if re.match(r"[a-z]+:|#", target):
        return None
    path, anchor = re.match(r"([^#]*)(.*)", target).groups()  # type: ignore[union-attr]
    return PurePosixPath(posixpath.normpath(posixpath.join(posixpath.dirname(page), path))), anchor


def site_place(path: PurePosixPath) -> str | None:
    """Return the place in the site of a file of the repository; None of a folder."""
    if str(path) in ROOT_PAGES:
        return ROOT_PAGES[str(path)]
    if path.parts[0] == "docs":
        return str(path.relative_to("docs"))
    if not (REPOSITORY / path).is_file():
        return None
    return f"repository/{path}.txt"


def for_site(text: str, page: str) -> str:
    """Mend the links of a page for the site.

    Args:
        text: The page, in Markdown.
        page: Its path in the repository, such as `docs/index.md`.

    Raises:
        FileNotFoundError: If a link leads nowhere.
    """
    place = site_place(PurePosixPath(page))
    assert place is not None

    def change(target: str) -> str:
        found = _inside(target, page)
        if found is None:
            return target
        path, anchor = found
        if not (REPOSITORY / path).exists():
            raise FileNotFoundError(f"{page} links to {target}, which is not there")
        to = site_place(path)
        if to is None:  # a folder, whose page says what is in it
            to = site_place(path / "README.md") or "index.md"
        return os.path.relpath(to, posixpath.dirname(place) or ".") + anchor

    return _change_links(text, change)


def linked_files(text: str, page: str) -> Iterator[PurePosixPath]:
    """Yield the files outside `docs` that a page links to and that are no pages themselves."""
    found: list[PurePosixPath] = []

    def note(target: str) -> str:
        inside = _inside(target, page)
        if inside is not None:
            found.append(inside[0])
        return target

    _change_links(text, note)
    for path in found:
        folder_page = path / "README.md"
        file = folder_page if (REPOSITORY / folder_page).is_file() else path
        place = site_place(file)
        if place is not None and place.startswith("repository/"):
            yield file
