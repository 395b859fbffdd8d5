"""Read models of other code bases, recognised by the content of their files."""

from pathlib import Path

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.dino.linear_head import HEADS, read_linear_head
from segmenter.checkpoints.foreign.dino.named_encoder import refuse_base
from segmenter.checkpoints.foreign.eomt import EOMT, read_eomt
from segmenter.checkpoints.foreign.family import ForeignFile, ForeignModel
from segmenter.checkpoints.foreign.hugging_face.eomt import (
    HUGGING_FACE_EOMT,
    read_hugging_face_eomt,
)
from segmenter.checkpoints.foreign.mmseg import MMSEG, read_mmseg
from segmenter.checkpoints.foreign.paddleseg.weights import PADDLESEG, read_paddleseg
from segmenter.checkpoints.foreign.pmt import PMT, read_pmt
from segmenter.checkpoints.foreign.read_state import read_state
from segmenter.checkpoints.foreign.rstrudel.weights import RSTRUDEL, Variant, read_rstrudel
from segmenter.classes import Classes
from segmenter.errors import UserError

_READERS = (
    (RSTRUDEL, read_rstrudel),
    (PADDLESEG, read_paddleseg),
    (MMSEG, read_mmseg),
    (EOMT, read_eomt),
    (HUGGING_FACE_EOMT, read_hugging_face_eomt),
    (PMT, read_pmt),
    *((head, read_linear_head) for head in HEADS),
)
"""Each code base, and what reads its files."""
_WITH_BASE = (EOMT, PMT, *HEADS)
"""Those of which some files need an encoder beside them."""


def read_foreign_model(
    path: Path,
    *,
    classes: Classes | None = None,
    variant: Variant | None = None,
    base: Path | None = None,
) -> ForeignModel | None:
    """Read a model of PaddleSeg, of the paper's code, of MMSegmentation or of EoMT.

    Args:
        path: The file.
        classes: Use these instead of what the file or the number of classes says.
        variant: Use this instead of the `variant.yml` beside a file of the paper's code.
        base: The encoder that the file adds a decoder or differences to.

    Returns:
        The model; None if the file holds weights, but no Segmenter.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no weights.
    """
    if model_file.is_model_file(path):
        raise UserError(f"{path} is a model of this package already")
    state, content = read_state(path)
    found = next(((family, read) for family, read in _READERS if family.matches(state)), None)
    if variant is not None and (found is None or found[0] is not RSTRUDEL):
        raise UserError(
            f"{path} is not a checkpoint of the paper's code: --variant, --normalization, --window "
            "and --stride are for those alone"
        )
    if found is None:
        return None
    file = ForeignFile(path, state, content, classes, variant, base)
    if found[0] not in _WITH_BASE:
        refuse_base(file)
    return found[1](file)
