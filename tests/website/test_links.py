"""Links of the pages lead to the same places in the repository and in the site."""

from pathlib import PurePosixPath

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "website").is_dir(), reason=f"{NOT_HERE}: the repository"
)
links = pytest.importorskip("website.links", reason=f"{NOT_HERE}: the repository")


@pytest.mark.parametrize(
    ("page", "link", "mended"),
    [
        ("docs/how-to/check.md", "../reference/data.md#a", "../reference/data.md#a"),
        ("docs/index.md", "../CONTRIBUTING.md", "contributing.md"),
        ("docs/how-to/check.md", "../../README.md", "../index.md"),
        ("docs/how-to/docker.md", "../../Dockerfile", "../repository/Dockerfile.txt"),
        ("CONTRIBUTING.md", "docs/how-to/extend.md", "how-to/extend.md"),
        ("docs/index.md", "https://example.org/a", "https://example.org/a"),
        ("docs/index.md", "#here", "#here"),
    ],
)
def test_a_link_is_mended_for_the_site(page: str, link: str, mended: str) -> None:
    assert links.for_site(f"See [it]({link}).", page) == f"See [it]({mended})."


def test_a_link_in_code_stays() -> None:
    text = "`[a](b.md)`\n```\n[a](b.md)\n```\n"
    assert links.for_site(text, "docs/index.md") == text


def test_a_link_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/index\.md links to missing\.md"):
        links.for_site("[a](missing.md)", "docs/index.md")


def test_files_that_are_no_pages_are_carried_along() -> None:
    text = "[a](../Dockerfile) [b](how-to/check.md) [c](../examples)"
    assert [*links.linked_files(text, "docs/index.md")] == [
        PurePosixPath("Dockerfile"),
        PurePosixPath("examples/README.md"),
    ]
