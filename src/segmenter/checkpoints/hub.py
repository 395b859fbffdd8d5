"""Models on the Hugging Face Hub, by names such as `hf:owner/name` or `hf:owner/name@revision`.

The network is asked only where such a name is given. Of a repository the file of weights is read,
which must be a model of ours or of a code base that we know, and two files of settings beside it:
nothing in them is executed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.hugging_face.shards import is_index, shard_names
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.files.outputs import stays_inside

MODEL_FILE = "model.safetensors"
"""Name of the model's file in its repository."""

WEIGHT_FILES = (MODEL_FILE, f"{MODEL_FILE}.index.json", "pytorch_model.bin")
"""Names of files of weights, or of the index of several, as they are looked for."""

_SETTINGS = ("config.json", "preprocessor_config.json")
"""Files of settings beside weights of other code bases; each may be absent."""
_PREFIX = "hf:"
_TIMEOUT = 10.0  # seconds, until the hub answers
_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^\s@]+))?", re.ASCII)


class HubName(NamedTuple):
    """Place of a model on the hub."""

    repository: str
    """`owner/name`."""
    revision: str | None = None
    """A branch, tag or commit; None: the newest state."""

    def __str__(self) -> str:
        """Return the name as it is given to `load`."""
        return f"{_PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(name: object) -> bool:
    """Return True for the name of a place on the hub; a file of such a name is `./hf:...`."""
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
            user, the network is down, or the file is damaged.
    """
    name = parse_hub_name(text)
    hub = import_hub()
    which = {"repo_id": name.repository, "revision": name.revision}
    with hub_errors(name):
        cached = (hub.try_to_load_from_cache(filename=each, **which) for each in WEIGHT_FILES)
        if all(each is None for each in cached):
            # Says at once what the download itself would try again for half a minute.
            hub.HfApi().model_info(**which, timeout=_TIMEOUT)
        path = _download_weights(hub, which)
        which["revision"] = path.parent.name  # the commit: all files are of one state
        if is_index(path):
            _download_shards(hub, path, which)
        if path.name == MODEL_FILE and not is_safetensors(path):
            raise UserError(f"{MODEL_FILE} of {name} is damaged or not a model of this package")
        if not model_file.is_model_file(path):
            for settings in _SETTINGS:
                with suppress(hub.errors.EntryNotFoundError, hub.errors.LocalEntryNotFoundError):
                    hub.hf_hub_download(filename=settings, **which)
    return path


def _download_weights(hub: Any, which: dict[str, Any]) -> Path:
    """Bring the first of `WEIGHT_FILES` that a repository holds into the cache."""
    absent = hub.errors.RemoteEntryNotFoundError, hub.errors.LocalEntryNotFoundError
    first, *others = WEIGHT_FILES
    try:
        return Path(hub.hf_hub_download(filename=first, **which))
    except absent:
        for name in others:
            with suppress(*absent):
                return Path(hub.hf_hub_download(filename=name, **which))
        raise


def _download_shards(hub: Any, index: Path, which: dict[str, Any]) -> None:
    """Bring the files that an index lists into the cache.

    Raises:
        UserError: If the repository lacks one.
    """
    for name in shard_names(index):
        try:
            hub.hf_hub_download(filename=name, **which)
        except hub.errors.RemoteEntryNotFoundError:
            raise UserError(
                f"hf:{which['repo_id']}: {index.name} lists {name}, which the repository lacks"
            ) from None


def import_hub() -> Any:
    """Import the client library.

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
    """Return the reason for which a call of the client failed, and the remedy."""
    if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and error.__cause__:
        return _reason(error.__cause__, errors)  # the client's own words hide the cause
    login = "`hf auth login`, or HF_TOKEN"
    cases: tuple[tuple[type, str], ...] = (
        (errors.GatedRepoError, f"its terms must be accepted on its page first, then {login}"),
        (errors.RepositoryNotFoundError, f"no such model, or a private one ({login})"),
        (errors.RevisionNotFoundError, "no such revision; give a branch, a tag or a commit"),
        (errors.RemoteEntryNotFoundError, f"it holds none of {', '.join(WEIGHT_FILES)}"),
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
