"""`segmenter card`, `push` and `models`: models for others, and from them."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from segmenter.checkpoints import load, model_file
from segmenter.checkpoints.bundled import BUNDLED_ENCODERS, bundled_encoders
from segmenter.checkpoints.hub import is_hub_name, parse_hub_name
from segmenter.checkpoints.open import resolve
from segmenter.errors import UserError
from segmenter.extras.sharing.card import measured, write_card
from segmenter.extras.sharing.listing import models_at_hand
from segmenter.extras.sharing.push import push_model
from segmenter.files.regular import read_regular
from segmenter.model import ModelSpec, Segmenter
from segmenter.terminal import escape

_MAX_CARD_BYTES = 1 << 20
_MAX_CLASS_NAMES = 40  # characters, in a table


def run_card(model: str) -> str:
    """Return the card of a model.

    Raises:
        UserError: If the model cannot be read.
    """
    title = parse_hub_name(model).repository.split("/")[1] if is_hub_name(model) else None
    return _card(load(model), title or Path(model).stem, model)


def run_push(
    model: str, name: str, *, card_file: Path | None, public: bool, overwrite: bool
) -> None:
    """Bring a model and its card to the hub, and say what was written.

    Raises:
        UserError: If the model is not a file of ours or damaged, or the hub refuses.
    """
    target = parse_hub_name(name)
    path = resolve(model)
    if not model_file.is_model_file(path):
        raise UserError(
            f"{path} is not a model file of this package; published checkpoints become one by "
            "`segmenter convert`"
        )
    loaded = model_file.read(path)  # which compares its SHA-256
    title = target.repository.split("/")[1]
    card = _read_card(card_file) if card_file else _card(loaded, title, str(target))
    pushed = push_model(path, card, target, public=public, overwrite=overwrite)
    if pushed.is_new:
        print(f"made: {target}, {'which all can see' if public else 'private'}")
    print(f"written: {', '.join(pushed.changed) or 'nothing, all is there already'}")
    print(pushed.url)


def run_listing() -> None:
    """Show the models, and the encoders to start from, that need no network."""
    table = Table("model", "MB", "classes", "mIoU, measured on", "terms of use")
    for found in models_at_hand():
        spec = found.spec
        megabytes = f"{found.num_bytes / 1e6:.1f}"
        names = f"{len(spec.classes)}: {', '.join(spec.classes.names)}"
        terms = spec.license or "not stated"
        table.add_row(*map(escape, (found.name, megabytes, _shorten(names), _score(spec), terms)))
    for name, path in bundled_encoders().items():
        megabytes = f"{path.stat().st_size / 1e6:.1f}"
        terms = BUNDLED_ENCODERS[name].license
        table.add_row(name, megabytes, "an encoder, to start training from", "-", terms)
    Console().print(table)


def _card(model: Segmenter, title: str, source: str) -> str:
    num_parameters = sum(each.numel() for each in model.parameters())
    return write_card(model.spec, num_parameters, title, source)


def _read_card(path: Path) -> str:
    """Return a card that the user wrote."""
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise UserError(f"{path} is larger than {_MAX_CARD_BYTES} bytes, the limit of a card")
        return read_regular(path, _MAX_CARD_BYTES).decode("utf-8")
    except OSError as error:
        raise UserError(f"the card {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the card {path} is not text (UTF-8)") from None


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CLASS_NAMES else f"{text[: _MAX_CLASS_NAMES - 3]}..."


def _score(spec: ModelSpec) -> str:
    """Return the mIoU of each set, such as `68.13 % camvid-test`."""
    found = [
        f"{100 * each.overall['miou']:.2f} % {each.on}"
        for each in measured(spec)
        if "miou" in each.overall
    ]
    return ", ".join(found) or "-"
