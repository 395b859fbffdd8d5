"""A model file and its card, brought to the hub in one commit."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from segmenter.checkpoints.hub import MODEL_FILE, HubName, hub_errors, import_hub
from segmenter.errors import UserError

CARD_FILE = "README.md"


class Pushed(NamedTuple):
    """Result of a push."""

    url: str
    """Address of the model's page."""
    is_new: bool
    """True: the push made the repository."""
    changed: tuple[str, ...]
    """Names of the files that were written."""


def push_model(model: Path, card: str, name: HubName, *, public: bool, overwrite: bool) -> Pushed:
    """Write a model and its card into a repository, which is made where there is none.

    Both go into one commit upon the state that was looked at: what somebody else pushes meanwhile
    is not replaced, but makes the commit fail.

    Args:
        model: The model file.
        card: Text of its card.
        name: Name of the repository.
        public: Whether all may see a new repository; one that is there stays as it is.
        overwrite: Replace a model or card that is there and differs.

    Raises:
        UserError: If files that differ are there, the token is missing, or the hub refuses.
    """
    if name.revision is not None:
        raise UserError(f"a push goes to the main branch; omit @{name.revision}")
    hub = import_hub()
    if hub.get_token() is None:
        raise UserError("a push needs a token that may write: `hf auth login`, or HF_TOKEN")
    api = hub.HfApi()
    contents = {MODEL_FILE: model, CARD_FILE: card.encode()}
    with hub_errors(name):
        is_new = not api.repo_exists(name.repository)
        if is_new:
            api.create_repo(name.repository, private=not public)
        there = api.model_info(name.repository, files_metadata=True)
        files = {file.rfilename: file for file in there.siblings or ()}
        changed = [each for each in contents if not _is_same(files.get(each), contents[each])]
        in_the_way = [each for each in changed if each in files]
        if in_the_way and not overwrite:
            raise UserError(
                f"{name} holds another {' and another '.join(in_the_way)}; push to another name, "
                "or allow it with --overwrite"
            )
        if changed:
            api.create_commit(
                name.repository,
                [hub.CommitOperationAdd(each, contents[each]) for each in changed],
                commit_message="Model and card",
                parent_commit=there.sha,
            )
    return Pushed(f"{api.endpoint}/{name.repository}", is_new, tuple(changed))


def _is_same(file: Any, content: Path | bytes) -> bool:
    """Return True if a file in a repository (None: absent) has a content, by the hub's hashes."""
    if file is None:
        return False
    data = content.read_bytes() if isinstance(content, Path) else content
    if file.lfs is not None:
        return file.lfs.sha256 == hashlib.sha256(data).hexdigest()
    blob = b"blob %d\0" % len(data) + data  # what git hashes
    return file.blob_id == hashlib.sha1(blob, usedforsecurity=False).hexdigest()
