"""An endless stream of training crops, in which everything is a function of (seed, position).

Position k is the k-th crop of the run. It does not matter how many processes read, or where a
stopped run is taken up: position k is always the same crop, to the bit.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from segmenter.classes import Classes
from segmenter.data.custom import CustomOperation
from segmenter.data.decoding.decode import decode_image
from segmenter.data.folder import Item, read_sample
from segmenter.data.mixing import MIXING, mix_in, paste_class
from segmenter.data.operations import draw_operations, own_generator
from segmenter.data.readers import (
    BATCHES_AHEAD,
    Bytes,
    CannotStart,
    ReaderDied,
    TakeMemory,
    read_in_processes,
)
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.data.unreadable import Unreadable
from segmenter.errors import UserError

_MAX_REPLACEMENTS = 5
_MAX_DEATHS_IN_A_ROW = 3
_MAX_NAMES_SHOWN = 8
_UNLABELLED = -1
"""Label of the pixels of an image without a mask, until its crop is done."""


class Batch(NamedTuple):
    """Crops as training takes them, not yet normalised."""

    images: Shaped[Tensor, "batch channels height width"]
    """RGB, uint8 from 0 to 255; or float32 values of other images."""
    labels: Int64[Tensor, "batch height width"]
    """Class indices, or the ignore index."""
    positions: Int64[Tensor, " batch"]
    """Position of each crop in the stream."""
    unlabelled: Bool[Tensor, "batch height width"]
    """True at the pixels of images without masks, but not where a crop reaches past its image."""
    strong: Shaped[Tensor, "batch channels height width"]
    """Input of the student where a teacher sees `images`: the same, or a strong view of it."""


class Crop(NamedTuple):
    """A crop of a stream."""

    sample: Sample
    unreadable: tuple[Unreadable, ...]
    """Images that were replaced on the way to it."""
    strong: Shaped[ndarray, "height width channels"]
    """A strong view of the image, or the image itself."""
    unlabelled: Bool[ndarray, "height width"]
    """True at the pixels of an image without a mask; all are False if the image has one."""


class SampleStream(Dataset[Crop]):
    """Crops by position: each epoch visits every item once, in an order of its own.

    Args:
        items: The images to train on.
        classes: What the masks mean.
        transform: Makes a crop of an image; its recipe says how many crops are placed on a pixel of
            a rare class, in an item that holds it.
        seed: Seed of order and augmentation.
        pixel_counts: Pixels of each class in each item.
        unlabelled: Images without masks; all their pixels are ignored.
        unlabelled_crops: Share of crops that are taken from these, if there are any.
        strong_views: Whether these crops have a strong view beside them.

    Raises:
        UserError: If `items` is empty.
    """

    def __init__(
        self,
        items: Sequence[Item],
        classes: Classes,
        transform: CropTransform,
        seed: int,
        *,
        pixel_counts: Int64[ndarray, "items classes"],
        unlabelled: Sequence[Item] = (),
        unlabelled_crops: float = 0.0,
        strong_views: bool = False,
    ) -> None:
        if not items:
            raise UserError("no labelled images to train on; add some, or name another split")
        self.num_labelled = len(items)
        self.items = (*items, *unlabelled)
        self.unlabelled_crops = unlabelled_crops if unlabelled else 0.0
        self.strong_views = strong_views
        self.classes = classes
        self.transform = transform
        self.seed = seed
        self.custom = None
        if name := transform.augment.custom:
            self.custom = CustomOperation(name, len(classes), classes.ignore_index)
        self.rare_class_crops = transform.augment.rare_class_crops
        most = transform.augment.rare_class_below
        shares = pixel_counts.sum(axis=0) / max(pixel_counts.sum(), 1)
        self.rare_classes = np.flatnonzero((shares > 0) & (shares < most))
        self._items_with = {
            int(index): np.flatnonzero(pixel_counts[:, index]) for index in self.rare_classes
        }

    def __getitem__(self, position: int) -> Crop:
        """Return the crop at a position, 0 or above, without end.

        An image that cannot be read is replaced by one that is drawn for this position.

        Raises:
            UserError: If five replacements in a row cannot be read either.
        """
        # Not the key of any epoch's order: that begins with the seed itself.
        rng = _generator(self.seed + 1, position)
        draws = draw_operations(self.transform.augment, rng, MIXING)
        unreadable: list[Unreadable] = []
        replacements = _generator(self.seed + 2, position)
        make = partial(self._make_crop, replacements=replacements, unreadable=unreadable)
        index, focus_class = self._choose(position, rng)
        crop = make(index, focus_class, rng)
        if own := draws.get("mix"):
            other = make(int(own.integers(self.num_labelled)), None, own)
            crop = mix_in(crop, other, self.transform.augment.mix_area, own)
        if (own := draws.get("paste")) and len(self.rare_classes):
            chosen, rare_class = self._choose_rare(own)
            crop = paste_class(crop, make(chosen, rare_class, own), rare_class)
        unlabelled, strong = crop.labels == _UNLABELLED, crop.image
        if unlabelled.any():
            crop.labels[unlabelled] = self.classes.ignore_index
            if self.strong_views:
                strong = self.transform.strong_view(crop.image, own_generator(rng, "strong"))
        return Crop(crop, tuple(unreadable), strong, unlabelled)

    def _make_crop(
        self,
        index: int,
        focus_class: int | None,
        rng: np.random.Generator,
        *,
        replacements: np.random.Generator,
        unreadable: list[Unreadable],
    ) -> Sample:
        """Make a crop of an item, or of one drawn in its place; add what cannot be read."""
        most = len(unreadable) + _MAX_REPLACEMENTS
        while True:
            item = self.items[index]
            try:
                sample = _read(item, self.classes)
                break
            except UserError as error:
                unreadable.append(Unreadable(str(item.image), str(error)))
                if len(unreadable) > most:
                    raise
            index, focus_class = int(replacements.integers(self.num_labelled)), None
        crop = self.transform(sample, rng, focus_class)
        return self._customize(crop, rng) if item.mask else self._mark(crop, rng)

    def _customize(self, crop: Sample, rng: np.random.Generator) -> Sample:
        return self.custom(crop, own_generator(rng, "custom")) if self.custom else crop

    def _mark(self, crop: Sample, rng: np.random.Generator) -> Sample:
        """Label what is inside an image without a mask as unlabelled, and ignore the padding.

        A function of the user's is called twice, with the same random numbers: on blank labels,
        which it may fill, and on those that tell the inside, which it may move.
        """
        ignored = self.classes.ignore_index
        blank = Sample(crop.image, np.full_like(crop.labels, ignored))
        image, labels = self._customize(blank, rng)
        is_inside = self._customize(crop, rng).labels != ignored
        is_open = is_inside & (labels == ignored)
        return Sample(image, np.where(is_open, _UNLABELLED, labels.astype(np.int64)))

    def image_name(self, position: int) -> str:
        """Name of the image that the crop at a position is taken from."""
        return self.items[self._choose(position, _generator(self.seed + 1, position))[0]].name

    def _choose(self, position: int, rng: np.random.Generator) -> tuple[int, int | None]:
        """Return the item of a position, and the rare class that its crop is placed on, if any."""
        if self.unlabelled_crops and rng.random() < self.unlabelled_crops:
            return int(rng.integers(self.num_labelled, len(self.items))), None
        epoch, place = divmod(position, self.num_labelled)
        may_focus = self.rare_class_crops > 0 and len(self.rare_classes) > 0
        if may_focus and rng.random() < self.rare_class_crops:
            return self._choose_rare(rng)
        return int(_epoch_order(self.seed, epoch, self.num_labelled)[place]), None

    def _choose_rare(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return an item with a rare class, and that class, drawn evenly from the rare ones."""
        rare_class = int(rng.choice(self.rare_classes))
        return int(rng.choice(self._items_with[rare_class])), rare_class


def _read(item: Item, classes: Classes) -> Sample:
    """Read an image and its labels; without a mask, zeros tell it from the padding of a crop."""
    if item.mask is not None:
        return read_sample(item, classes)
    image = decode_image(item.image, image_bits=classes.image_bits, image=classes.image)
    return Sample(image, np.zeros(image.shape[:2], classes.label_dtype))


def make_loader(
    stream: SampleStream,
    positions: range,
    batch_size: int,
    workers: int = 0,
    *,
    share: tuple[int, int] = (0, 1),
    on_unreadable: Callable[[Unreadable], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Generator[Batch]:
    """Yield batches of the crops at these positions, in order; the last may be smaller.

    A reading process that dies is replaced, and what it was about to read is read again. Where the
    system starts no process, this one reads.

    Args:
        stream: Where crops come from.
        positions: Positions of the crops in the stream, one after the other.
        batch_size: Crops in a batch.
        workers: Processes that read ahead, each on one thread; 0: this process reads.
        share: Number of the share of each batch to read, from 0, and the number of equal shares.
        on_unreadable: Called with each image that was replaced, each time.
        say: Shows a line when a process died.
        is_stopping: Called while this process waits for a batch; once true, no batch comes.

    Raises:
        UserError: If images cannot be read, or the processes die again and again.
    """
    num_deaths, (start, stop) = 0, (positions.start, positions.stop)
    while start < stop:
        batches = _positions(start, stop, batch_size, share)
        try:
            with contextlib.closing(
                _start_reading(stream, batches, workers, is_stopping)
            ) as reading:
                for batch, unreadable in reading:
                    for image_name in unreadable:
                        on_unreadable(image_name)
                    yield batch
                    start += batch_size
                    num_deaths = 0
            return
        except CannotStart as error:
            say(f"warning: no process that reads images can be started ({error}); this one reads")
            workers = 0
        except (ReaderDied, ConnectionResetError) as error:
            num_deaths += 1
            if num_deaths >= _MAX_DEATHS_IN_A_ROW:
                in_work = range(start, min(start + batch_size * workers, stop))
                raise UserError(
                    f"the processes that read images died {num_deaths} times in a row ({error}), "
                    "for lack of memory or by an image that crashes the decoder; set workers to "
                    f"0 or fewer than {workers}, and continue with --resume; they were reading "
                    f"{_names(stream, in_work)}"
                ) from None
            say(f"warning: a process that reads images died ({error}); reading starts again")


def _start_reading(
    stream: SampleStream,
    batches: Sequence[list[int]],
    workers: int,
    is_stopping: Callable[[], bool] = lambda: False,
) -> "Generator[_Read]":
    if workers == 0:
        for positions in batches:
            taken: list[Bytes] = []
            parts = _read_batch(stream, positions, partial(_take, taken))
            yield _Read(_views(taken[0], parts), parts.unreadable)
        return
    read = partial(_read_batch, stream)
    with contextlib.closing(read_in_processes(read, batches, workers, is_stopping)) as found:
        for parts, memory in found:
            yield _Read(_views(memory, parts), parts.unreadable)


def bytes_ahead(
    batch_size: int,
    crop_size: int,
    channels: int,
    workers: int,
    dtype: torch.dtype = torch.uint8,
    num_views: int = 1,
) -> int:
    """Return how many bytes the batches take that are on their way at most."""
    parts = _Parts((batch_size, channels, crop_size, crop_size), dtype, num_views)
    return workers * BATCHES_AHEAD * parts.num_bytes


def _names(stream: SampleStream, positions: range) -> str:
    names = list(dict.fromkeys(stream.image_name(position) for position in positions))
    more = len(names) - _MAX_NAMES_SHOWN
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _positions(
    start: int, stop: int, batch_size: int, share: tuple[int, int]
) -> Sequence[list[int]]:
    """Lists of positions, one for each batch: one of the equal shares of it."""
    which, num_shares = share
    size = batch_size // num_shares
    firsts = range(start + which * size, stop, batch_size)
    return [list(range(first, min(first + size, stop))) for first in firsts]


class _Read(NamedTuple):
    """A batch, and the images that were replaced in it."""

    batch: Batch
    unreadable: tuple[Unreadable, ...]


class _Parts(NamedTuple):
    """The shape and the places of a batch, beside its bytes."""

    shape: tuple[int, int, int, int]
    """Shape of the images: batch, channels, height, width."""
    dtype: torch.dtype
    """Type of the images: uint8 or float32."""
    num_views: int
    """Number of views of each image."""
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of the batch."""
        size, _, height, width = self.shape
        return self.num_views * self.num_image_bytes + size * (9 * height * width + 8)

    @property
    def num_image_bytes(self) -> int:
        """Size of one view of all images."""
        return math.prod(self.shape) * self.dtype.itemsize


def _read_batch(stream: SampleStream, positions: list[int], take: TakeMemory) -> _Parts:
    """Put crops side by side, channels first, into memory that whoever trains sees too."""
    crops = [stream[each] for each in positions]
    height, width, channels = crops[0].sample.image.shape
    dtype = torch.uint8 if crops[0].sample.image.dtype == np.uint8 else torch.float32
    unreadable = tuple(each for crop in crops for each in crop.unreadable)
    num_views = 2 if stream.strong_views else 1
    parts = _Parts((len(crops), channels, height, width), dtype, num_views, unreadable)
    batch = _views(take(parts.num_bytes), parts)
    for index, crop in enumerate(crops):
        cv2.split(crop.sample.image, list(batch.images[index].numpy()))
        if stream.strong_views:
            cv2.split(crop.strong, list(batch.strong[index].numpy()))
        batch.labels[index].numpy()[:] = crop.sample.labels
        batch.unlabelled[index].numpy()[:] = crop.unlabelled
    batch.positions[:] = torch.tensor(positions, dtype=torch.int64)
    return parts


def _views(memory: Bytes, parts: _Parts) -> Batch:
    """Return a batch that lies in one piece of memory: wide numbers first, so all are aligned."""
    size, _, height, width = parts.shape
    num_pixels = size * height * width
    sizes = [8 * num_pixels, 8 * size, *[parts.num_image_bytes] * parts.num_views, num_pixels]
    labels, positions, *views, unlabelled = memory.split(sizes)
    images, strong = (view.view(parts.dtype).view(parts.shape) for view in (views[0], views[-1]))
    return Batch(
        images,
        labels.view(torch.int64).view(size, height, width),
        positions.view(torch.int64),
        unlabelled.view(torch.bool).view(size, height, width),
        strong,
    )


def _take(taken: list[Bytes], size: int) -> Bytes:
    taken.append(torch.empty(size, dtype=torch.uint8))
    return taken[0]


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


# Two: reading ahead reaches into the next epoch.
@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_items: int) -> Int64[ndarray, " items"]:
    return _generator(seed, epoch).permutation(num_items)
