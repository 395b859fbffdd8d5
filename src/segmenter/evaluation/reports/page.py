"""What the pages of an evaluation and of a comparison are made with."""

import base64
from collections.abc import Mapping
from typing import Any

from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy import ndarray

from segmenter.drawing.overlay import encode_jpeg
from segmenter.evaluation.bootstrap import LEVEL, NUM_RESAMPLES, Interval
from segmenter.text import for_page

PAGE_NAME = "index.html"

_QUALITY = 85


def render(template: str, **values: Any) -> bytes:
    """One page that holds everything, as UTF-8.

    Args:
        template: Name of the file beside this one.
        values: What it shows; texts are escaped.
    """
    environment = Environment(
        loader=PackageLoader("segmenter.evaluation.reports", "."),
        autoescape=True,
        finalize=for_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": _signed,
        "span": _span,
        "span_signed": _span_signed,
        "plain": _plain,
    }
    page = environment.get_template(template).render(
        level=LEVEL, num_resamples=NUM_RESAMPLES, **values
    )
    return page.encode()


def data_uri(picture: UInt8[ndarray, "height width 3"]) -> str:
    """A picture inside the page."""
    content = base64.b64encode(encode_jpeg(picture, _QUALITY)).decode()
    return f"data:image/jpeg;base64,{content}"


def css_color(color: tuple[int, int, int]) -> str:
    """An RGB colour as CSS has it."""
    return "#" + bytes(color).hex()


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent, without the sign."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def _signed(share: float | None, digits: int = 2) -> str:
    """A difference of shares as points."""
    return "-" if share is None else f"{100 * share:+.{digits}f}"


def _span(interval: Interval | None, digits: int = 1) -> str:
    """Both ends of an interval, in per cent."""
    if interval is None:
        return "-"
    return f"{percent(interval.low, digits)} to {percent(interval.high, digits)}"


def _span_signed(interval: Interval | None, digits: int = 2) -> str:
    """Both ends of a difference's interval, in points."""
    if interval is None:
        return "-"
    return f"{_signed(interval.low, digits)} to {_signed(interval.high, digits)}"


def _plain(value: object) -> str:
    """A value of the context as a person would write it."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(key).replace('_', ' ')} {_plain(inner)}" for key, inner in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
