"""`segmenter card`, `segmenter push` and `segmenter models`."""

from pathlib import Path

from segmenter import options
from segmenter.commands.flags import Model, Output


def card(model: Model) -> None:
    """Run `segmenter card`."""
    from segmenter.extras.sharing.share_model import run_card

    print(run_card(model), end="")


def push(
    model: Model,
    name: str,
    *,
    card: Path | None = None,
    public: bool = False,
    output: Output = options.Output(),
) -> None:
    """Run `segmenter push`.

    Args:
        name: Destination, as hf:owner/name.
        card: Text of the card, instead of what `segmenter card` prints.
        public: Let everyone see the repository, if this creates it.
    """
    from segmenter.extras.sharing.share_model import run_push

    run_push(model, name, card_file=card, public=public, overwrite=output.overwrite)


def models() -> None:
    """Run `segmenter models`."""
    from segmenter.extras.sharing.share_model import run_listing

    run_listing()
