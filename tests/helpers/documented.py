"""The commands and code that the pages show."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import REPOSITORY

PAGES = sorted(
    [
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *REPOSITORY.glob("docs/**/*.md"),
        *REPOSITORY.glob("examples/*.md"),
    ]
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_PROMPT = "$ "


class Shown(NamedTuple):
    """A command of a page."""

    page: str
    words: list[str]

    @property
    def line(self) -> str:
        """The command as one types it."""
        return shlex.join(self.words)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in some languages; an empty one stands for none."""
    text = page.read_text(encoding="utf-8")
    return [content for language, content in _BLOCK.findall(text) if language in languages]


def _commands(block: str) -> list[list[str]]:
    commands = []
    for line in block.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.removeprefix(_PROMPT), comments=True)
        except ValueError:  # a quote over several lines: a script
            continue
        if ">" in words:
            words = words[: words.index(">")]
        says_something = any(word.endswith(":") for word in words[:2])  # `segmenter train: ...`
        if words and not says_something:
            commands.append(words)
    return commands


def shown(*programs: str) -> list[Shown]:
    """All commands of the pages that begin with one of these programs."""
    return [
        Shown(str(page.relative_to(REPOSITORY)), words)
        for page in PAGES
        for block in blocks(page, "sh", "")
        for words in _commands(block)
        if words[0] in programs
    ]
