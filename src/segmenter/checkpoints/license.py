"""The licence of weights: where it is stated, whether it restricts use, and the line that says so.

A licence is one line of text. An SPDX expression of permissive licences, such as `Apache-2.0 AND
MIT`, restricts nothing; every other text states terms of use.
"""

import re
from collections.abc import Iterable

from segmenter.checkpoints import model_file
from segmenter.checkpoints.bundled import BUNDLED_ENCODERS
from segmenter.checkpoints.foreign.read import read_foreign_model
from segmenter.checkpoints.open import file_kind, resolve
from segmenter.files.optional import import_optional
from segmenter.text import visible

_PERMISSIVE = {
    "0bsd",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc0-1.0",
    "isc",
    "mit",
    "unlicense",
}
_TIMM = "timm:"


def terms_of_use(license: str) -> str | None:
    """Return the terms that a licence states, on one line; None if it restricts nothing.

    Args:
        license: As in `ModelSpec.license`; empty if nothing is stated.
    """
    text = visible(" ".join(license.split()))
    names = re.split(r" (?:AND|OR) ", text)
    if not text or all(name.strip("()").lower() in _PERMISSIVE for name in names):
        return None
    return text


def terms_note(name: str, license: str) -> str | None:
    """Return the line that tells the terms of a model to its user; None if it has none.

    Example:
        >>> terms_note("street", "Non-commercial use only.")
        "note: the model 'street' is under these terms: Non-commercial use only."
    """
    terms = terms_of_use(license)
    return terms and f"note: the model {visible(repr(name))} is under these terms: {terms}"


def join_licenses(licenses: Iterable[str]) -> str:
    """Return the licence of what is made of several models: all terms, or else all licences."""
    given = [" ".join(license.split()) for license in licenses]
    terms = dict.fromkeys(each for each in given if terms_of_use(each))
    if terms:
        return " ".join(t for t in terms if not any(t != other and t in other for other in terms))
    parts = list(dict.fromkeys(part for each in given if each for part in _parts(each)))
    if len(parts) > 1:
        parts = [f"({each})" if len(_split(each, " OR ")) > 1 else each for each in parts]
    return " AND ".join(parts)


def _parts(license: str) -> list[str]:
    """Return the licences that all hold, without brackets around a whole one."""
    if len(_split(license, " OR ")) > 1:
        return [license]
    parts = _split(license, " AND ")
    if len(parts) > 1:
        return [inner for part in parts for inner in _parts(part)]
    is_bracketed = license.startswith("(") and license.endswith(")")
    return _parts(license[1:-1].strip()) if is_bracketed else parts


def _split(license: str, word: str) -> list[str]:
    """Split a licence at a word outside brackets."""
    parts = [""]
    for piece in re.split(f"({word})", license):
        depth = parts[-1].count("(") - parts[-1].count(")")
        if piece == word and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def license_of(weights: str) -> str:
    """Return the licence that weights state, which a run starts from; empty if they state none.

    Args:
        weights: A bundled name, a path, `hf:owner/name` or `timm:NAME`, as in a recipe.

    Raises:
        UserError: If they cannot be found or read.
    """
    if weights in BUNDLED_ENCODERS:
        return BUNDLED_ENCODERS[weights].license
    if weights.startswith(_TIMM):
        return _timm_license(weights.removeprefix(_TIMM))
    path = resolve(weights)
    if file_kind(path) == "model":
        return model_file.read_spec(path).license
    foreign = read_foreign_model(path)
    return foreign.spec.license if foreign else ""


def _timm_license(name: str) -> str:
    """Return the licence of weights that timm downloads; empty if it does not say."""
    timm = import_optional(f"timm:{name}", "timm", extra="timm")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # no such weights, which is said where they are loaded
        return ""
    return (config and config.license) or ""
