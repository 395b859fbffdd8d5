"""The files of the page, for a service behind it and for a browser that computes alone.

One page, two engines: `engine.js` asks a service; the file of that name in `browser/`, with those
beside it, computes in the browser.
"""

from pathlib import Path

from segmenter import pages

_FOLDER = Path(__file__).parent / "page"
STYLE = Path(pages.__file__).parent / "style.css"
"""The stylesheet of all pages."""

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".jpg": "image/jpeg",
}
"""Suffix -> media type of the page's files."""

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
}
_SERVICE_POLICY = _POLICY | {"frame-ancestors": "'none'"}
# A `<meta>` cannot say who may frame the page.
_BROWSER_POLICY = _POLICY | {"script-src": "'self' 'wasm-unsafe-eval'", "worker-src": "'self'"}


def service_files() -> dict[str, bytes]:
    """Return the files of the page that a service gives out, by name."""
    return _read(_FOLDER) | {STYLE.name: STYLE.read_bytes()}


def service_policy() -> str:
    """Return the content security policy that goes with them, as a header."""
    return _text(_SERVICE_POLICY)


def browser_files() -> dict[str, bytes]:
    """Return the files of the page that computes in the browser; the page holds its own policy."""
    files = service_files() | _read(_FOLDER / "browser")
    charset = b'<meta charset="utf-8">\n'
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_text(_BROWSER_POLICY)}">\n'
    page = files["index.html"]
    assert page.count(charset) == 1
    return files | {"index.html": page.replace(charset, charset + policy.encode())}


def _read(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in KINDS)
    return {path.name: path.read_bytes() for path in paths}


def _text(policy: dict[str, str]) -> str:
    return "; ".join(f"{name} {sources}" for name, sources in policy.items())
