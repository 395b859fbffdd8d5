"""An endless stream of training crops, in which everything is a function of (seed, position).

Position k is the k-th crop of the run. It does not matter how many processes read, or where a
stopped run is taken up: position k is always the same crop, to the bit.
"""

import math
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from segmenter.classes import Classes
from segmenter.data.decode import decode_image
from segmenter.data.folder import Item, read_sample
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.data.unreadable import Unreadable
from segmenter.errors import UserError

_MAX_REPLACEMENTS = 5
_MAX_DEATHS_IN_A_ROW = 3
_MAX_NAMES_SHOWN = 8


class Batch(NamedTuple):
    """Crops as training takes them, not yet normalised."""

    images: UInt8[Tensor, "batch channels height width"]
    """RGB, 0 to 255."""
    labels: Int64[Tensor, "batch height width"]
    """Class indices, or the ignore index."""
    positions: Int64[Tensor, " batch"]
    """Where in the stream each crop stands."""


class SampleStream(Dataset[tuple[Sample, tuple[Unreadable, ...]]]):
    """Crops by position: each epoch visits every item once, in an order of its own.

    Args:
        items: The photos to train on.
        classes: What the masks mean.
        transform: Makes a crop of a photo.
        seed: Of order and augmentation.
        pixel_counts: Pixels of each class in each item, from `survey`.
        rare_class_crops: Share of crops that are placed on a pixel of a rare class instead, in an
            item that holds it; the class is drawn evenly from the rare ones.
        rare_class_below: Share of all pixels under which a class counts as rare.
        unlabelled: Photos without masks; all their pixels are ignored.
        unlabelled_crops: Share of crops that are taken from these, if there are any.

    Raises:
        UserError: If there are no items.
    """

    def __init__(
        self,
        items: Sequence[Item],
        classes: Classes,
        transform: CropTransform,
        seed: int,
        *,
        pixel_counts: Int64[ndarray, "items classes"],
        rare_class_crops: float = 0.0,
        rare_class_below: float = 0.02,
        unlabelled: Sequence[Item] = (),
        unlabelled_crops: float = 0.25,
    ) -> None:
        if not items:
            raise UserError("no labelled images to train on; add some, or name another split")
        self.num_labelled = len(items)
        self.items = (*items, *unlabelled)
        self.unlabelled_crops = unlabelled_crops if unlabelled else 0.0
        self.classes = classes
        self.transform = transform
        self.seed = seed
        self.rare_class_crops = rare_class_crops
        shares = pixel_counts.sum(axis=0) / max(pixel_counts.sum(), 1)
        self.rare_classes = np.flatnonzero((shares > 0) & (shares < rare_class_below))
        self._items_with = {
            int(index): np.flatnonzero(pixel_counts[:, index]) for index in self.rare_classes
        }

    def __getitem__(self, position: int) -> tuple[Sample, tuple[Unreadable, ...]]:
        """The crop at a position, 0 or above; there is no last one.

        A photo that cannot be read is replaced by one that is drawn for this position.

        Returns:
            The crop, and what was replaced on the way to it.

        Raises:
            UserError: If five replacements in a row cannot be read either.
        """
        # Not the key of any epoch's order: that begins with the seed itself.
        rng = _generator(self.seed + 1, position)
        index, focus_class = self._choose(position, rng)
        replacements = _generator(self.seed + 2, position)
        unreadable: list[Unreadable] = []
        while True:
            item = self.items[index]
            try:
                sample = _read(item, self.classes)
                break
            except UserError as error:
                unreadable.append(Unreadable(str(item.image), str(error)))
                if len(unreadable) > _MAX_REPLACEMENTS:
                    raise
            index, focus_class = int(replacements.integers(self.num_labelled)), None
        return self.transform(sample, rng, focus_class), tuple(unreadable)

    def photo(self, position: int) -> str:
        """Name of the photo that the crop at a position is taken from."""
        return self.items[self._choose(position, _generator(self.seed + 1, position))[0]].name

    def _choose(self, position: int, rng: np.random.Generator) -> tuple[int, int | None]:
        """The item of a position, and the rare class that its crop is placed on, if any."""
        if self.unlabelled_crops and rng.random() < self.unlabelled_crops:
            return int(rng.integers(self.num_labelled, len(self.items))), None
        epoch, place = divmod(position, self.num_labelled)
        may_focus = self.rare_class_crops > 0 and len(self.rare_classes) > 0
        if may_focus and rng.random() < self.rare_class_crops:
            focus_class = int(rng.choice(self.rare_classes))
            return int(rng.choice(self._items_with[focus_class])), focus_class
        return int(_epoch_order(self.seed, epoch, self.num_labelled)[place]), None


def _read(item: Item, classes: Classes) -> Sample:
    """A photo and its labels; without a mask, none of its pixels has one."""
    if item.mask is not None:
        return read_sample(item, classes)
    image = decode_image(item.image)
    return Sample(image, np.full(image.shape[:2], classes.ignore_index, classes.label_dtype))


def make_loader(
    stream: SampleStream,
    start: int,
    stop: int,
    batch_size: int,
    workers: int = 0,
    *,
    share: tuple[int, int] = (0, 1),
    on_unreadable: Callable[[Unreadable], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Generator[Batch]:
    """Batches of the positions from `start` up to `stop`, in order; the last may be smaller.

    A reading process that dies is replaced, and what it was about to read is read again.

    Args:
        stream: Where crops come from.
        start: First position.
        stop: The position after the last.
        batch_size: Crops in a batch.
        workers: Processes that read ahead, each on one thread; 0: this process reads.
        share: Of the equal shares that each batch is cut into, which one is read, and how many
            there are.
        on_unreadable: Told of each photo that was replaced, each time.
        say: Told that a process died.

    Raises:
        UserError: If photos cannot be read, or the processes die again and again.
    """
    num_deaths = 0
    while start < stop:
        try:
            for result in _start_reading(
                stream, _PositionBatches(start, stop, batch_size, share), workers
            ):
                if isinstance(result, UserError):
                    raise result
                batch, unreadable = result
                for photo in unreadable:
                    on_unreadable(photo)
                yield batch
                start += batch_size
                num_deaths = 0
            return
        except (RuntimeError, ConnectionResetError) as error:
            # A process that dies while it hands over a batch resets the connection.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            num_deaths += 1
            if num_deaths >= _MAX_DEATHS_IN_A_ROW:
                in_work = range(start, min(start + batch_size * workers, stop))
                raise UserError(
                    f"the processes that read photos died {num_deaths} times in a row, for lack of "
                    f"memory or by a photo that brings the decoder down; set workers to 0 or fewer "
                    f"than {workers}, and go on with --resume; they were reading "
                    f"{_names(stream, in_work)}"
                ) from None
            say(f"warning: a process that reads photos died ({error}); reading starts again")


def _start_reading(
    stream: SampleStream, positions: "_PositionBatches", workers: int
) -> "Iterator[_Read | UserError]":
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(
        DataLoader(
            _BatchReader(stream),
            batch_size=None,
            sampler=positions,
            num_workers=workers,
            worker_init_fn=_start_worker,
            # Without one of its own, a loader draws its seed from the global generator.
            generator=torch.Generator(),
        )
    )
    # torch's handler raises wherever the process happens to be, even halfway through an update of
    # the weights. Without it, a dead worker is noticed where its batch is waited for.
    if signal.getsignal(signal.SIGCHLD) != before:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return batches


def _names(stream: SampleStream, positions: range) -> str:
    names = list(dict.fromkeys(stream.photo(position) for position in positions))
    more = len(names) - _MAX_NAMES_SHOWN
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


class _PositionBatches(Sampler[list[int]]):
    """Lists of positions, one for each batch: one of the equal shares of it."""

    def __init__(self, start: int, stop: int, batch_size: int, share: tuple[int, int]) -> None:
        self.start, self.stop, self.batch_size = start, stop, batch_size
        which, num_shares = share
        self.size = batch_size // num_shares
        self.offset = which * self.size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(self.start + self.offset, self.stop, self.batch_size):
            yield list(range(first, min(first + self.size, self.stop)))

    def __len__(self) -> int:
        return len(range(self.start, self.stop, self.batch_size))


class _Read(NamedTuple):
    """A batch, and the photos that were replaced in it."""

    batch: Batch
    unreadable: tuple[Unreadable, ...]


class _BatchReader(Dataset[_Read | UserError]):
    """Reads whole batches; a user's error is handed over, as raising would wrap its one line."""

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream

    def __getitem__(self, positions: list[int]) -> _Read | UserError:
        try:
            samples, unreadable = zip(*(self.stream[each] for each in positions), strict=True)
        except UserError as error:
            return error
        return _Read(_make_batch(samples, positions), sum(unreadable, ()))


def _make_batch(samples: Sequence[Sample], positions: Sequence[int]) -> Batch:
    """Put crops side by side, channels first."""
    height, width, channels = samples[0].image.shape
    images = _empty(len(samples), channels, height, width, dtype=torch.uint8)
    labels = _empty(len(samples), height, width, dtype=torch.int64)
    for index, sample in enumerate(samples):
        cv2.split(sample.image, list(images[index].numpy()))
        labels[index].numpy()[:] = sample.labels
    return Batch(images, labels, torch.tensor(positions, dtype=torch.int64))


def _empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Memory for a batch; a reading process takes it where the training process sees it too.

    So a batch is handed over without being copied; torch's `default_collate` does the same.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def _start_worker(_index: int) -> None:
    """One thread each, and no end by a signal: the training process ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


# Two: reading ahead reaches into the next epoch.
@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_items: int) -> Int64[ndarray, " items"]:
    return _generator(seed, epoch).permutation(num_items)
