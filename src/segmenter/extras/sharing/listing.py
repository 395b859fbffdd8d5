"""Local models: those in the package, and those of the hub that are in its cache."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from segmenter.checkpoints import model_file
from segmenter.checkpoints.bundled import bundled_models
from segmenter.checkpoints.hub import MODEL_FILE, HubName, import_hub
from segmenter.errors import UserError
from segmenter.files.optional import missing
from segmenter.model import ModelSpec


class Found(NamedTuple):
    """A model that needs no network."""

    name: str
    """Name to give to `--model`."""
    path: Path
    num_bytes: int
    spec: ModelSpec


def models_at_hand() -> list[Found]:
    """Return all models that can be named; other files in the cache are skipped."""
    named = [*bundled_models().items(), *sorted(_cached())]
    return [
        Found(name, path, path.stat().st_size, spec)
        for name, path in named
        if (spec := _spec(path)) is not None
    ]


def _cached() -> Iterator[tuple[str, Path]]:
    """Yield names and files in the hub's cache: one a branch or tag, or else the commit."""
    if missing(["huggingface_hub"]):
        return
    hub = import_hub()
    try:
        repositories = hub.scan_cache_dir(hub.constants.HF_HUB_CACHE).repos
    except hub.errors.CacheNotFound:
        return
    for repository in repositories:
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            path = revision.snapshot_path / MODEL_FILE
            for label in revision.refs or [revision.commit_hash]:
                name = HubName(repository.repo_id, None if label == "main" else label)
                if path.is_file():
                    yield str(name), path


def _spec(path: Path) -> ModelSpec | None:
    """Return the description in a model file, or None if it is damaged or not ours."""
    try:
        return model_file.read_spec(path)
    except UserError:
        return None
