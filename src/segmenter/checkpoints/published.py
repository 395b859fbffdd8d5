"""Models of other code bases, recognised by what their files hold."""

from collections.abc import Mapping
from pathlib import Path

from segmenter.checkpoints import own
from segmenter.checkpoints.containers import is_safetensors, read_container
from segmenter.checkpoints.family import Published
from segmenter.checkpoints.mmseg import is_mmseg, read_mmseg
from segmenter.checkpoints.paddleseg import is_paddleseg, read_paddleseg
from segmenter.checkpoints.rstrudel import Variant, is_rstrudel, read_rstrudel
from segmenter.classes import Classes
from segmenter.errors import UserError

_TABLES = ("model", "state_dict", "model_state_dict", "net")
"""Under which key of a file the table of weights may stand, if it is not the file itself."""


def read_published(
    path: Path, *, classes: Classes | None = None, variant: Variant | None = None
) -> Published | None:
    """Read a Segmenter of PaddleSeg, of the paper's code or of MMSegmentation.

    Args:
        path: The file.
        classes: Instead of what the file or the number of classes says.
        variant: Instead of the `variant.yml` beside a file of the paper's code.

    Returns:
        The model; nothing if the file holds weights, but no Segmenter.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no weights.
    """
    if is_safetensors(path):
        if own.is_own(path):
            raise UserError(f"{path} is a model of this package already")
        return None
    state, content = read_state(path)
    if variant is not None and not is_rstrudel(state):
        raise UserError(
            f"{path} is no checkpoint of the paper's code: --variant, --normalization, --window "
            "and --stride are for those alone"
        )
    if is_paddleseg(state):
        return read_paddleseg(state, path, classes)
    if is_rstrudel(state):
        return read_rstrudel(state, path, classes, variant)
    if is_mmseg(state):
        return read_mmseg(state, content.get("meta"), path, classes)
    return None


def read_state(path: Path) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The table of weights in a `.pdparams`, `.pth` or `.npz`, and all that the file holds.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no table.
    """
    content = read_container(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, and no table of weights")
    for key in _TABLES:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            return inner, content
    return content, content
