"""HTML pages: one environment, one frame, one stylesheet for every page that the package writes.

A page is a template beside the code that renders it; it extends `page.html.jinja`.
"""

import base64
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.metadata import metadata
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt, UInt8
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy import ndarray

from segmenter.drawing import encode_jpeg, label_png, smaller_size
from segmenter.files.outputs import OutputFolder, check_new
from segmenter.options import Report
from segmenter.text import for_page, percent, span, visible

PAGE_NAME = "index.html"

_QUALITY = 85
_MAX_MAP_SIDE = 160  # pixels of a map that names the class under the pointer
_PACKAGE = "vit-segmenter"
_SETTINGS = {
    "a": "A",
    "b": "B",
    "decode": "label rule",
    "how_a": "settings of A",
    "how_b": "settings of B",
    "ids": "values of the label maps",
    "maps": "label maps",
    "merge_tokens": "merge threshold",
}
"""Words for keys of a context, where other words are clearer than the keys."""


@cache  # templates are compiled once a process
def template_environment(package: str, *, is_html: bool = True) -> Environment:
    """Return the Jinja environment of the templates in a package's folder.

    Args:
        package: Such as `segmenter.predicting`.
        is_html: Escape what is shown; False for plain text, which keeps its last line end.
    """
    loaders = [PackageLoader(name, ".") for name in (package, __name__)]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        finalize=for_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=is_html,
        keep_trailing_newline=not is_html,
    )
    environment.filters |= {
        "code": _with_code,
        "css_color": css_color,
        "percent": percent,
        "plain": _plain,
        "setting": _setting,
        "span": span,
    }
    package_facts = metadata(_PACKAGE)
    environment.globals |= {
        "documentation": documentation,
        "today": lambda: date.today().isoformat(),
        "version": package_facts["Version"],
    }
    return environment


def render_page(package: str, template: str, **values: Any) -> bytes:
    """Render a page; what it shows is escaped.

    Args:
        package: That holds the template.
        template: Name of its file.
        values: What it shows.

    Returns:
        HTML as UTF-8.
    """
    page = template_environment(package).get_template(template).render(values)
    return page.encode(errors="backslashreplace")


def open_report(output: Report) -> OutputFolder | None:
    """Return the folder of a page, if one is asked for, once page and JSON can be written.

    Raises:
        UserError: If something is in the way.
    """
    report = OutputFolder(output.report, overwrite=output.overwrite) if output.report else None
    if report:
        report.check([PAGE_NAME])
    if output.json:
        check_new(output.json, overwrite=output.overwrite)
    return report


def data_uri(picture: UInt8[ndarray, "height width 3"]) -> str:
    """Return a link that holds an RGB picture, as a JPEG."""
    content = base64.b64encode(encode_jpeg(picture, _QUALITY)).decode()
    return f"data:image/jpeg;base64,{content}"


def label_map_uri(labels: UInt[ndarray, "height width"]) -> str:
    """Return a link that holds a small label map, by which a page names what is pointed at.

    Red and green of a pixel are the low and the high byte of its label.
    """
    size = smaller_size(labels.shape, _MAX_MAP_SIDE)
    small = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)).astype(np.uint16)
    bytes_of = np.stack([small & 255, small >> 8, np.zeros_like(small)], axis=2).astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(label_png(bytes_of)).decode()}"


def shown_names(names: Iterable[str]) -> list[str]:
    """Return names as a page shows them, for a script of the page."""
    return [visible(name) for name in names]


def documentation(page: str) -> str:
    """Return the words that lead to a page of the documentation; a link if the site is known.

    Args:
        page: Its file without ending, such as `explanation/statistics`.
    """
    for each in metadata(_PACKAGE).get_all("Project-URL") or []:
        label, _, address = each.partition(",")
        if label.strip().lower() == "documentation":
            link = Markup('<a href="{}/{}.html">{}</a>')
            return link.format(address.strip().rstrip("/"), page, f"documentation, {page}")
    return f"docs/{page}.md"


def css_color(color: tuple[int, int, int]) -> str:
    """Return an RGB colour in CSS syntax, such as `#2a6fca`."""
    return "#" + bytes(color).hex()


def _with_code(text: str) -> Markup:
    """Return a text whose parts between backticks are code."""
    parts = [escape(visible(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without a second one
        return escape(visible(text))
    inside = (Markup("<code>{}</code>").format(part) for part in parts[1::2])
    parts[1::2] = inside
    return Markup("").join(parts)


def _setting(key: str) -> str:
    """Return the words for a key of a context."""
    return _SETTINGS.get(key, key.replace("_", " "))


def _plain(value: object) -> str:
    """Return a value of a context as a person would write it.

    Of settings inside a setting, those that are off are left out, and so is the licence, which the
    head of the page states.
    """
    if isinstance(value, Mapping):
        return ", ".join(
            f"{_setting(key)} {_plain(inner)}"
            for key, inner in value.items()
            if inner is not None and inner is not False and key != "license"
        )
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
