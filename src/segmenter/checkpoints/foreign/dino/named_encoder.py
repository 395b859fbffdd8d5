"""The encoder that a file of a decoder or of differences needs, named by the user."""

from segmenter.checkpoints.foreign.dino.encoder import DinoEncoder, read_dino_encoder
from segmenter.checkpoints.foreign.family import ForeignFile
from segmenter.errors import UserError


def read_base(file: ForeignFile, holds: str) -> DinoEncoder:
    """Read the encoder that the user names for a file.

    Args:
        file: Whose `base` it is.
        holds: What the file holds, for the message.

    Raises:
        UserError: If none is named, or it cannot be read.
    """
    if file.base is None:
        raise UserError(
            f"{file.path} holds {holds}, and not its encoder; give the encoder's file with "
            f"`segmenter convert {file.path} model.safetensors --base FILE`"
        )
    return read_dino_encoder(file.base)


def refuse_base(file: ForeignFile) -> None:
    """Refuse a base for a file that holds a whole model."""
    if file.base is not None:
        raise UserError(f"{file.path} holds a whole model; omit --base")
