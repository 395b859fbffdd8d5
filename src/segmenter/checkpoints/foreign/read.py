"""Models of other code bases, recognised by what their files hold."""

from collections.abc import Mapping
from pathlib import Path

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.family import ForeignFile, Published
from segmenter.checkpoints.foreign.mmseg import MMSEG, read_mmseg
from segmenter.checkpoints.foreign.paddleseg.weights import PADDLESEG, read_paddleseg
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors, read_container
from segmenter.checkpoints.foreign.rstrudel.weights import RSTRUDEL, Variant, read_rstrudel
from segmenter.classes import Classes
from segmenter.errors import UserError

_TABLES = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "model_ema",
    "state_dict_ema",
    "teacher",
)
"""Under which key of a file the table of weights may stand, if it is not the file itself; averaged
weights only where there are no others."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What PyTorch puts before each name of a model that is trained on several GPUs, or compiled."""
_MAX_NESTING = 3


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
        if model_file.is_model_file(path):
            raise UserError(f"{path} is a model of this package already")
        return None
    state, content = read_state(path)
    file = ForeignFile(path, state, content, classes)
    if RSTRUDEL.wrote(state):
        return read_rstrudel(file, variant)
    if variant is not None:
        raise UserError(
            f"{path} is no checkpoint of the paper's code: --variant, --normalization, --window "
            "and --stride are for those alone"
        )
    readers = ((PADDLESEG, read_paddleseg), (MMSEG, read_mmseg))
    return next((read(file) for family, read in readers if family.wrote(state)), None)


def read_state(path: Path) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The table of weights in a `.pdparams`, `.pth` or `.npz`, and all that the file holds.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no table.
    """
    content = read_container(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, and no table of weights")
    table = content
    for _ in range(_MAX_NESTING):
        inner = (table.get(key) for key in _TABLES)
        table = next((value for value in inner if isinstance(value, Mapping)), table)
    for _ in _WRAPPERS:
        for wrapper in _WRAPPERS:
            if table and all(isinstance(name, str) and name.startswith(wrapper) for name in table):
                table = {name.removeprefix(wrapper): value for name, value in table.items()}
    return table, content
