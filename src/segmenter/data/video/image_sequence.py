"""Images with numbers in their names, as the frames of a video."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from segmenter.data.decoding.decode import read_image
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.data.video.frames import VIDEO_LIMITS, Frame, VideoTiming
from segmenter.errors import UserError

_NUMBER = re.compile(r"%(?:0(\d))?d")
_LEAST_RATE, _HIGHEST_RATE = 0.01, 1000.0


@dataclass(frozen=True)
class ImageSequence:
    """Images that fit a pattern such as `shots/frame-%04d.png`."""

    path: Path
    """The pattern."""
    name: str
    """Stem of the names of its results."""
    images: tuple[Path, ...]
    """The images in the order of their numbers."""
    rate: Fraction
    """Frames a second."""
    image_bits: int | None = None
    """Bits a sample of images that have more than 8. None: the most that a frame so far needs."""

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Decode all images, one after the other, the first at 0 seconds.

        Args:
            stopped: Called before each image; once true, no more are decoded.

        Raises:
            UserError: After the last image, if it was stopped, or if some cannot be read.
        """
        timing = VideoTiming(1 / self.rate, self.rate)
        problems: list[str] = []
        bits = self.image_bits  # one range for all frames, or a dark one would flash up
        for index, path in enumerate(self.images):
            if stopped():
                raise UserError(f"{self.path}: stopped by a signal; completed frames are kept")
            try:
                frame = read_image(path, limits=VIDEO_LIMITS, image_bits=self.image_bits)
                if bits and frame.bits and frame.bits < bits:
                    frame = read_image(path, limits=VIDEO_LIMITS, image_bits=bits)
                bits = frame.bits or bits
            except UserError as error:
                problems.append(str(error))
                continue
            yield Frame(frame.pixels, index / self.rate, timing)
        if problems:
            raise UserError(
                f"{len(problems)} of {len(self.images)} frames cannot be read; the first: "
                f"{problems[0]}"
            )


def is_sequence(given: str) -> bool:
    """Return True if a name that no file has is the pattern of an image sequence."""
    return _NUMBER.search(given) is not None


def find_sequence(given: str, frames_a_second: float) -> ImageSequence:
    """Find the images of a pattern.

    Args:
        given: A path with one `%d` in the file's name, or `%04d` for four digits and more.
        frames_a_second: How fast they are shown.

    Raises:
        UserError: If the pattern or the rate is impossible, or if no image fits.
    """
    if not _LEAST_RATE <= frames_a_second <= _HIGHEST_RATE:
        raise UserError(
            f"frames a second must be from {_LEAST_RATE:g} to {_HIGHEST_RATE:g}, got "
            f"{frames_a_second:g}"
        )
    path = Path(given)
    numbers = [len(_NUMBER.findall(text)) for text in (given, path.name)]
    if numbers != [1, 1] or path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(
            f"{given} is not a pattern of an image sequence: the file's name has one number, such "
            "as in 'shots/frame-%04d.png'"
        )
    before, width, after = _NUMBER.split(path.name)
    digits = rf"\d{{{width},}}" if width else r"\d+"
    fits = re.compile(re.escape(before) + f"({digits})" + re.escape(after))
    try:
        matches = [(fits.fullmatch(each.name), each) for each in path.parent.iterdir()]
    except OSError as error:
        raise UserError(f"{path.parent} cannot be read: {error.strerror}") from None
    numbered = sorted((int(match[1]), each) for match, each in matches if match)
    if not numbered:
        raise UserError(f"pattern {given} fits no image; check the folder and the digits")
    name = (before + after.removesuffix(path.suffix)).strip("-_. ")
    return ImageSequence(
        path,
        name or path.absolute().parent.name or "sequence",
        tuple(each for _, each in numbered),
        Fraction(frames_a_second).limit_denominator(1001),
    )
