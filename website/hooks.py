"""What mkdocs asks while it builds the site: pages of the root, linked files, generated parts."""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import generated, measured
from website.links import REPOSITORY, ROOT_PAGES, for_site, linked_files, slug

_MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", flags=re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as GitHub does, so that one link serves both."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the files that pages link to."""
    texts = {
        f"docs/{file.src_uri}": file.content_string
        for file in files.documentation_pages()
        if file.src_uri != "README.md"
    }
    for source, place in ROOT_PAGES.items():
        if place == "index.md":
            continue
        texts[source] = (REPOSITORY / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=texts[source]))
    linked = {
        path
        for page, text in texts.items()
        for path in linked_files(measured.with_sources(text, page), page)
    }
    for path in sorted(linked):
        content = (REPOSITORY / path).read_text(encoding="utf-8")
        files.append(File.generated(config, f"repository/{path}.txt", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in the generated parts, and mend the links."""
    source = next(
        (root for root, place in ROOT_PAGES.items() if place == page.file.src_uri),
        f"docs/{page.file.src_uri}",
    )
    if page.file.src_uri == "index.md":
        source = "docs/index.md"
    mended = for_site(measured.with_sources(markdown, source), source)
    return _MARKER.sub(lambda marker: generated.PARTS[marker[1]](), mended)
