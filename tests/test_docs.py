"""The pages: their links lead somewhere, inside the repository and inside each page."""

import re
from pathlib import Path

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "docs").is_dir(), reason=f"{NOT_HERE}: the repository"
)


def prose(page: Path) -> str:
    """The text of a page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", lambda code: "x" * len(code[0]), text)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page, and those that it states itself."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (numbered := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(numbered)
    return found


def links(page: Path) -> list[str]:
    """Where a page leads inside the repository."""
    targets = re.findall(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)", prose(page))
    targets += re.findall(r"^\[[^]]+\]:\s+(\S+)", prose(page), flags=re.MULTILINE)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        assert file.is_relative_to(REPOSITORY), f"{page.name} links outside: {target}"
        if anchor:
            names = anchors(file)
            assert anchor in names, f"{page.name} links to {target}; {file.name} has {names}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_tests_that_a_page_names_are_there(page: Path) -> None:
    for path in re.findall(r"\btests/[\w./]*\w", page.read_text(encoding="utf-8")):
        assert (REPOSITORY / path).exists(), f"{page.name} names {path}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [REPOSITORY / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in links(page))
        todo += [(page.parent / target).resolve() for target in targets if target]
    assert sorted(page.name for page in set(PAGES) - reached) == []


def test_every_test_that_the_page_of_verification_names_exists() -> None:
    page = (REPOSITORY / "docs/verification/verified.md").read_text(encoding="utf-8")
    named = re.findall(r"\[([^]]+)\]\((?:\.\./)+(tests/[^)]+)\)", page)
    assert named
    for words, file in named:
        name = re.sub(r"\W+", "_", words.lower())
        source = (REPOSITORY / file).read_text(encoding="utf-8")
        assert re.search(rf"^def test_{name}\(", source, flags=re.MULTILINE), (words, file)


def test_headings_have_the_names_that_github_gives_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Rows, *and* [a link](x.md)\n```sh\n# a comment\n```\n## `b_1`?\n## B_1\n")
    assert anchors(page) == {"rows-and-a-link", "b_1", "b_1-1"}
