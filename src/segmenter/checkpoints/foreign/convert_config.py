"""The part of `segmenter convert` that turns a config of another code base into a recipe."""

import re
from pathlib import Path

from segmenter.checkpoints.foreign.paddleseg.config import is_paddleseg_config, paddleseg_fields
from segmenter.checkpoints.foreign.paddleseg.inherit import read_config
from segmenter.checkpoints.foreign.rstrudel.config import is_variant, variant_fields
from segmenter.checkpoints.foreign.settings import Settings
from segmenter.errors import UserError
from segmenter.files.outputs import write_new
from segmenter.recipe import make_recipe


def convert_config(source: Path, out: Path, *, gpus: int | None, overwrite: bool) -> str:
    """Write a recipe; return line by line what was taken and what has no counterpart.

    Args:
        source: A config of PaddleSeg, or a `variant.yml`.
        out: The recipe.
        gpus: How many GPUs a config of PaddleSeg was run on.
        overwrite: Replace `out`.

    Raises:
        UserError: If the config cannot be read, or what it says cannot be a recipe.
    """
    content = read_config(source)
    settings = Settings(content, str(source))
    notes = []
    if is_variant(content):
        if gpus is not None:
            raise UserError(f"{source} states the batch size of all GPUs; omit --gpus")
        kind = "the paper's own code (variant.yml)"
        fields = variant_fields(settings)
    elif is_paddleseg_config(content):
        if gpus is None:
            notes.append("batch_size is that of one GPU; give their number with --gpus N")
        elif gpus < 1:
            raise UserError(f"--gpus is at least 1, got {gpus}")
        kind = "PaddleSeg"
        fields = paddleseg_fields(settings, gpus or 1)
    else:
        raise UserError(
            f"{source} is neither a config of PaddleSeg (with model and train_dataset) nor a "
            "variant.yml (with net_kwargs)"
        )
    name = re.sub(r"[^\w .+-]|^\W", "_", out.stem)[:100]
    recipe = make_recipe({"name": name} | fields, source=str(source))
    head = [f"Converted from {source.name}, a config of {kind}.", f"segmenter train {out.name}"]
    if settings.left:
        head += ["Without counterpart:", *(f"  {line}" for line in settings.left)]
    text = "".join(f"# {_line(line)}\n" for line in head) + recipe.to_yaml()
    write_new(out, text.encode(), overwrite=overwrite)

    summary = [f"{source}: a config of {kind}"]
    for title, lines in (("taken", settings.taken), ("no counterpart", settings.left)):
        summary += [
            title if lines else f"{title}: nothing",
            *(f"  {_line(line)}" for line in lines),
        ]
    return "\n".join([*summary, *(f"note: {note}" for note in notes), f"written: {out}"])


def _line(text: str) -> str:
    """Without line breaks: names of keys may hold any character."""
    return "".join(character if character.isprintable() else "?" for character in text)
