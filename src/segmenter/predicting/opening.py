"""Open what `segmenter predict` needs before its first image: the model, and the outputs."""

from collections.abc import Sequence

import cv2

from segmenter.checkpoints.license import terms_note
from segmenter.classes import Classes
from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import IMAGE_COPY, PLAIN_OVERLAY, ImageOutputs
from segmenter.options import ImageOutput, PredictOptions
from segmenter.runtimes.open_runtime import open_runtime


def check_given(images: Sequence[str]) -> None:
    """Reject a command without images."""
    if not images:
        raise UserError("no images given; name images, folders, or patterns such as 'photos/*.jpg'")


def open_predictor(model: str, options: PredictOptions) -> Predictor:
    """Open a model to label images in several threads; print device, licence and runtime."""
    cv2.setNumThreads(1)  # images are worked on in parallel, and each thread's time is counted
    predictor = Predictor(
        open_runtime(model, options.compute),
        flip=options.labelling.flip,
        symmetry=options.labelling.symmetry,
        label_rule=options.labelling.label_rule,
        threshold=options.labelling.threshold,
        **vars(options.sizes),
    )
    predictor.classes = recolored(predictor.classes, options.output.palette)
    if options.image_bits is not None:
        predictor.image_bits = check_image_bits(options.image_bits)
    print(predictor.runtime.describe_device())
    if note := terms_note(model, predictor.spec.license):
        print(note)
    print(f"runtime: {predictor.runtime.describe()}")
    return predictor


def check_image_bits(bits: int) -> int:
    """Refuse a number of bits that no image has.

    Raises:
        UserError: If it is not 8 to 16.
    """
    if not 8 <= bits <= 16:
        raise UserError(f"--image-bits is from 8 to 16, got {bits}")
    return bits


def image_outputs(classes: Classes, output: ImageOutput, save: tuple[str, ...]) -> ImageOutputs:
    """Return the files to write of each image."""
    also = (IMAGE_COPY, PLAIN_OVERLAY) if output.gallery else ()
    return ImageOutputs(classes, output.out, save, output.opacity, output.ids, also)
