"""`segmenter predict`."""

from dataclasses import dataclass
from typing import Annotated

from segmenter import options
from segmenter.commands.flags import (
    Compute,
    ComputeFlags,
    Labelling,
    Maps,
    Model,
    Parts,
    Sizes,
    Video,
    flat,
)
from segmenter.data.published import Benchmark
from segmenter.errors import PARTLY_DONE


@dataclass(frozen=True, kw_only=True)
class ImageOutput(options.ImageOutput):
    """Output for images, with the benchmarks there are."""

    submission: Benchmark | None = None


def predict(
    *images: str,
    model: Model = "street",
    image_bits: int | None = None,
    output: Annotated[ImageOutput, flat("Output")] = ImageOutput(),
    sizes: Sizes = options.Sizes(),
    labelling: Labelling = options.Labelling(),
    compute: Compute = ComputeFlags(),
    video: Video = options.VideoOptions(),
    maps: Maps = options.MapOptions(),
    parts: Parts = options.Parts(),
) -> int | None:
    """Run `segmenter predict`.

    Args:
        images: Images, folders of images, or patterns such as `photos/**/*.jpg`; videos, image
            sequences, and cameras such as `/dev/video0`.
        image_bits: Bits per sample of images with more than 8, such as 12, where white is 4095.
            [default: as the model was trained, or the fewest that hold an image's largest value]
    """
    if parts == options.Parts():
        from segmenter.predicting.run_prediction import run_prediction as run
    else:
        from segmenter.predicting.predict_parts import run_parts as run
    given = options.PredictOptions(
        output=output,
        sizes=sizes,
        labelling=labelling,
        compute=compute,
        video=video,
        parts=parts,
        maps=maps,
        image_bits=image_bits,
    )
    return PARTLY_DONE if run(images, model, given) else None
