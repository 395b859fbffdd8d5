"""Models on the Hugging Face Hub, by names such as `hf:owner/name` or `hf:owner/name@revision`.

The network is asked only where such a name is given. Of a repository one file is read, which must
be a model file of ours: nothing in it is executed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from segmenter.checkpoints import model_file
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.files.outputs import stays_inside

MODEL_FILE = "model.safetensors"
"""What the model's file is called in its repository."""

_PREFIX = "hf:"
_TIMEOUT = 10.0  # seconds, until the hub answers
_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^\s@]+))?", re.ASCII)


class HubName(NamedTuple):
    """Where a model lies on the hub."""

    repository: str
    """`owner/name`."""
    revision: str | None = None
    """A branch, tag or commit; None: the newest state."""

    def __str__(self) -> str:
        """The name as it is given to `load`."""
        return f"{_PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(name: object) -> bool:
    """Whether a model is named by its place on the hub; a file of such a name is `./hf:...`."""
    return isinstance(name, str) and name.startswith(_PREFIX)


def parse_hub_name(text: str) -> HubName:
    """Read `hf:owner/name` or `hf:owner/name@revision`.

    Raises:
        UserError: If it is neither.
    """
    match = _NAME.fullmatch(text.removeprefix(_PREFIX))
    # A revision is also the name of a file in the hub's cache.
    if not is_hub_name(text) or not match or not stays_inside(match["revision"] or "main"):
        raise UserError(
            f"a model on the hub is hf:owner/name or hf:owner/name@revision, got {text!r}"
        )
    return HubName(match["repository"], match["revision"])


def download_model(text: str) -> Path:
    """Bring a model of the hub into the hub's own cache, unless it is there.

    Without a network, what the cache holds is taken.

    Args:
        text: Such as `hf:owner/name`.

    Returns:
        The path of the file.

    Raises:
        UserError: If huggingface_hub is not installed, the model is not there or not open to the
            user, the network is down, or the file is no model of ours.
    """
    name = parse_hub_name(text)
    hub = import_hub()
    which = {"repo_id": name.repository, "revision": name.revision}
    with hub_errors(name):
        if hub.try_to_load_from_cache(filename=MODEL_FILE, **which) is None:
            # Says at once what the download itself would try again for half a minute.
            hub.HfApi().model_info(**which, timeout=_TIMEOUT)
        path = Path(hub.hf_hub_download(filename=MODEL_FILE, **which))
    if not model_file.is_model_file(path):
        raise UserError(f"{MODEL_FILE} of {name} is damaged, or no model of this package")
    return path


def import_hub() -> Any:
    """The client library.

    Raises:
        UserError: If it is not installed.
    """
    import_optional("a model on the hub", "huggingface_hub.constants", extra="hub")
    import_optional("a model on the hub", "huggingface_hub.errors", extra="hub")
    return import_optional("a model on the hub", "huggingface_hub", extra="hub")


@contextmanager
def hub_errors(name: HubName) -> Iterator[None]:
    """Say in one line what the hub refuses, or that it cannot be reached.

    Raises:
        UserError: Instead of whatever the client raises.
    """
    errors = import_hub().errors
    try:
        yield
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: {_reason(error, errors)}") from None


def _reason(error: Any, errors: Any) -> str:
    """Why a call of the client failed, and what to do."""
    if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and error.__cause__:
        return _reason(error.__cause__, errors)  # the client's own words hide the cause
    login = "`hf auth login`, or HF_TOKEN"
    cases: tuple[tuple[type, str], ...] = (
        (errors.GatedRepoError, f"its terms must be accepted on its page first, then {login}"),
        (errors.RepositoryNotFoundError, f"no such model, or a private one ({login})"),
        (errors.RevisionNotFoundError, "no such revision; give a branch, a tag or a commit"),
        (errors.RemoteEntryNotFoundError, f"holds no {MODEL_FILE}, so it is no model of ours"),
        (errors.OfflineModeIsEnabled, "not in the cache, and HF_HUB_OFFLINE forbids to ask"),
        (errors.LocalEntryNotFoundError, "not in the cache, and the hub cannot be reached"),
    )
    for kind, reason in cases:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        said = error.server_message or error.response.reason_phrase
        hint = f"; the token may not do this ({login})" if status in {401, 403} else ""
        return f"the hub answers {status}, {said}{hint}"
    if isinstance(error, errors.HTTPError):
        return f"the hub cannot be reached: {error}"
    return str(error)
