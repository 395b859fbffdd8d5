"""`segmenter explain`: what a model looks at in an image."""

from pathlib import Path

from segmenter.checkpoints.license import terms_note
from segmenter.checkpoints.open import is_exported
from segmenter.data.decoding.decode import decode_image
from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.extras.explaining.explain_page import Origin, write_explanation
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.options import Compute, Device, DrawnOutput
from segmenter.pages import PAGE_NAME
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.terminal import progress_bar
from segmenter.text import visible


def run_explanation(
    image: Path,
    model: str,
    out: Path,
    *,
    patch: str | None,
    class_name: str | None,
    device: Device,
    output: DrawnOutput,
) -> Path:
    """Write the page; returns its path.

    Raises:
        UserError: If image, model, patch, class or folder do not allow it.
    """
    if patch is not None and class_name is not None:
        raise UserError("give --patch or --class, not both")
    folder = OutputFolder(out, overwrite=output.overwrite)
    folder.check([PAGE_NAME])
    if output.overwrite and image.suffix == ".png" and image.resolve().parent == out.resolve():
        raise UserError(f"{image} lies in the output folder, and could be lost; give another --out")
    if is_exported(Path(model)):
        raise UserError(
            f"{model} is exported, and gives no attention; give the model that it came from"
        )
    predictor = Predictor(open_runtime(model, Compute(device=device.device, runtime="torch")))
    print(predictor.runtime.describe_device())
    if note := terms_note(model, predictor.spec.license):
        print(note)
    spec = predictor.spec
    spec.require_files()
    pixels = decode_image(image, image_bits=predictor.image_bits, image=spec.image)
    predictor.classes = recolored(predictor.classes, output.palette)
    model_parts = predictor.model
    num_blocks = len(model_parts.encoder.blocks) + model_parts.decoder.num_attention_blocks
    origin = Origin(_patch(patch), class_name)
    with progress_bar("drawing the attention of each block", num_blocks) as advance:
        remark = write_explanation(
            predictor, pixels, image.name, origin, folder, model=model, on_block=advance
        )
    if remark:
        print(f"note: {visible(remark)}")
    return out / PAGE_NAME


def _patch(text: str | None) -> tuple[int, int] | None:
    """Row and column of `12,30`."""
    if text is None:
        return None
    try:
        row, column = map(int, text.split(","))
    except ValueError:
        raise UserError(f"--patch is ROW,COLUMN, such as 12,30; got {text!r}") from None
    return row, column
