"""The site: every page is in its contents, and it needs no network."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.browser import BROWSER, SIZES, axe_script, chromium, new_page, serious_findings
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

CONFIG = REPOSITORY / "mkdocs.yml"
SEEN = (
    "index.html",
    "tutorials/own-images.html",
    "how-to/check.html",
    "reference/command-line.html",
    "reference/api.html",
    "experiments/performance.html",
)
"""A page of each kind."""

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_site_is_built_strictly_and_fetches_nothing(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 40
    fetched = re.compile(r"<(?:script|img|link)[^>]* (?:src|href)=\"?(https?:)?//[^\"> ]+")
    for page in pages:
        found = fetched.search(page.read_text(encoding="utf-8"))
        assert found is None, (page.name, found)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_pages_of_the_site_have_no_serious_finding_and_search_works_offline(site: Path) -> None:
    axe = axe_script()
    with chromium() as browser:
        for (width, height), scheme in itertools.product(SIZES.values(), ("light", "dark")):
            viewport = {"width": width, "height": height}
            page = new_page(browser, viewport=viewport, color_scheme=scheme)
            for place in SEEN:
                page.goto((site / place).as_uri())
                page.locator(".md-search[aria-label]").wait_for(state="attached")
                assert serious_findings(page, axe) == [], (place, width, scheme)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            page.close()
        page = new_page(browser)
        page.goto((site / "index.html").as_uri())
        page.click("input[name=query]")
        page.keyboard.type("tensorrt", delay=40)
        page.locator(".md-search-result__link", has_text="NVIDIA").first.wait_for()
