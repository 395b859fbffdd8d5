"""`segmenter prepare`: bring a published data set into the layout that is read."""

from importlib import import_module
from pathlib import Path

from segmenter.data.download import download, verify
from segmenter.data.folder import LabelledFolder
from segmenter.data.published import find_set
from segmenter.data.published.open_data import open_published
from segmenter.data.published.published_set import Archive, PublishedSet
from segmenter.data.unpack import unpack
from segmenter.errors import UserError
from segmenter.terminal import progress_bar


def run_preparation(name: str, folder: Path, *, may_download: bool) -> bool:
    """Download if asked, unpack, convert and check a data set; whether all of it is there.

    Args:
        name: Name of the published data set.
        folder: Where its archives lie or go, and are unpacked.
        may_download: Get missing archives from the net.

    Raises:
        UserError: If an archive is missing or damaged, or the result has not the right layout.
    """
    published = find_set(name)
    root = folder / published.folder
    data = _whole(published, root)
    missing: list[Archive] = []
    if data is None:
        for archive in published.archives:
            if not _bring(archive, folder, root, may_download=may_download):
                missing.append(archive)
        data = _opened(published, root, folder, missing)
    counts = {split: len(data.splits.get(split, ())) for split in published.counts}
    for split, expected in published.counts.items():
        if counts[split] != expected:
            print(f"{split}: {counts[split]} images, published were {expected}")
    found = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{published.name}:{root}: {found}; the terms stand at {published.site}")
    return counts == published.counts


def _bring(archive: Archive, folder: Path, root: Path, *, may_download: bool) -> bool:
    """Unpack (or convert) one archive, downloaded if need be; whether it is there."""
    path = next(
        (place for place in (folder / archive.file, root / archive.file) if place.is_file()),
        folder / archive.file,
    )
    if path.is_file():
        digest = verify(path, archive.sha1)
    elif may_download and archive.url is not None:
        with progress_bar(f"downloading {archive.file}") as show:
            digest = download(archive.url, path, archive.sha1, show)
    else:
        return False
    print(f"{path}: SHA-256 {digest}")
    if archive.into is not None:
        with progress_bar(f"unpacking {archive.file}") as show:
            unpack(path, folder / archive.into, show)
    if archive.convert is not None:
        module, _, function = archive.convert.partition(":")
        with progress_bar("writing masks") as show:
            getattr(import_module(module), function)(path, root, show)
    return True


def _whole(published: PublishedSet, root: Path) -> LabelledFolder | None:
    """Return the data set, if all of it is there already."""
    try:
        data = open_published(published, root)
    except UserError:
        return None
    counts = {split: len(data.splits.get(split, ())) for split in published.counts}
    return data if counts == published.counts else None


def _opened(
    published: PublishedSet, root: Path, folder: Path, missing: list[Archive]
) -> LabelledFolder:
    """Return the data set; if it is not there, say which archives are wanted and where they are."""
    try:
        return open_published(published, root)
    except UserError as problem:
        if not missing:
            raise
        wanted = " and ".join(archive.file for archive in missing)
        if all(archive.url is None for archive in missing):
            way = f"log in at {published.site}, download and put into {folder}: {wanted}"
        else:
            way = f"put {wanted} into {folder} (see {published.site}), or add --download"
        raise UserError(f"{published.name} is incomplete: {problem}; {way}") from None
