"""The site: every page is in its contents, and it needs no network."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

CONFIG = REPOSITORY / "mkdocs.yml"

pytestmark = pytest.mark.skipif(not CONFIG.is_file(), reason=f"{NOT_HERE}: the repository")


def places(nav: Any) -> list[str]:
    """The pages of the contents, in their order."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [place for each in inner for place in places(each)]


def test_the_contents_have_every_page_once() -> None:
    nav = places(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"])
    pages = [str(page.relative_to(REPOSITORY / "docs")) for page in REPOSITORY.glob("docs/**/*.md")]
    assert sorted(nav) == sorted([*pages, "contributing.md", "changelog.md"])


def test_home_links_every_page_of_the_contents() -> None:
    home = (REPOSITORY / "docs/index.md").read_text(encoding="utf-8")
    nav = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"]
    named = {
        "contributing.md": "../CONTRIBUTING.md",
        "changelog.md": "../CHANGELOG.md",
    }
    for place in places(nav):
        assert place == "index.md" or f"]({named.get(place, place)})" in home, place


def test_the_page_of_extras_has_a_row_for_each() -> None:
    page = (REPOSITORY / "docs/reference/extras.md").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in project["optional-dependencies"]:
        assert re.search(rf"^\| `{extra}` \|", page, flags=re.MULTILINE), extra


def test_the_page_of_variables_has_each_that_is_read() -> None:
    page = (REPOSITORY / "docs/reference/environment.md").read_text(encoding="utf-8")
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in REPOSITORY.glob("src/segmenter/**/*.py")
    )
    read = set(re.findall(r'environ(?:\.\w+\(|\[)"(\w+)"', sources))
    assert len(read) > 5
    assert [name for name in sorted(read) if f"`{name}`" not in page] == []


@pytest.mark.slow
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = [*tmp_path.rglob("*.html")]
    assert len(pages) > 40
    fetched = re.compile(r"<(?:script|img|link)[^>]* (?:src|href)=\"?(https?:)?//[^\"> ]+")
    for page in pages:
        found = fetched.search(page.read_text(encoding="utf-8"))
        assert found is None, (page.name, found)
