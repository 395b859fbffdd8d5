"""Estimate the work of a model on an image, which its pixels alone do not give.

A protocol may enlarge: a row of 65,535 pixels becomes 17 billion where its short side has to fill
a window.
"""

from segmenter.errors import UserError
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.inference.predictor import Predictor
from segmenter.inference.resizing import view_sizes
from segmenter.inference.work import check_work


def count_pixels(size: tuple[int, ...], predictor: Predictor) -> int:
    """Count the pixels of an image of this size, or those that the model sees if more."""
    height, width = size[:2]
    protocol = predictor.protocol
    if not height * width:
        return 0
    seen = sum(_view_pixels((height, width), predictor)) * protocol.num_orientations
    return max(height * width, seen)


def _view_pixels(size: tuple[int, int], predictor: Predictor) -> list[int]:
    """Count the pixels of the image at each size at which the model sees it."""
    views = [view.view for view in view_sizes(size, predictor.protocol)]
    return [rows * columns for rows, columns in views]


def check_workload(size: tuple[int, ...], predictor: Predictor, settings: ServiceSettings) -> None:
    """Refuse an image that no deadline is long enough for, or no memory holds.

    Raises:
        RequestError: 422.
    """
    height, width = size[:2]
    num_pixels = count_pixels(size, predictor)
    most = settings.max_enlargement * settings.max_pixels
    if num_pixels > most:
        raise RequestError(
            422,
            "too-large",
            f"the model looks at {num_pixels} pixels of an image of {height} x {width}, at most "
            f"{most} are taken; send one whose sides differ less",
        )
    # Flipped and turned images go through the model one after the other: the time of each grows
    # with the square of its pixels, that of all together with their number.
    at_once = max(_view_pixels((height, width), predictor)) if num_pixels else 0
    if predictor.protocol.window is None and at_once > settings.max_pass_pixels:
        raise RequestError(
            422,
            "too-large",
            f"the model looks at {at_once} pixels of an image of {height} x {width} at once, "
            f"without windows; at most {settings.max_pass_pixels} are taken; send a smaller image, "
            "or start the service with --window",
        )
    if num_pixels:
        try:
            check_work((height, width), predictor.protocol, predictor.spec, predictor.device)
        except UserError as error:
            raise RequestError(422, "too-large", str(error)) from None
