"""Arguments of `segmenter card`, `segmenter push` and `segmenter models`."""

from pathlib import Path

from segmenter.commands.values import DONE


def card(model: str) -> int:
    """Print the card of a model: Markdown, from the scores, classes and recipe that it carries.

    Args:
        model: A bundled name, a model file, or hf:owner/name.
    """
    from segmenter.extras.sharing.share_model import run_card

    print(run_card(model), end="")
    return DONE


def push(
    model: str,
    name: str,
    *,
    card: Path | None = None,
    public: bool = False,
    overwrite: bool = False,
) -> int:
    """Bring a model and its card to the Hugging Face Hub.

    A new repository is private. The token is the one of `hf auth login`, or HF_TOKEN.

    Args:
        model: A bundled name, or a model file.
        name: Where it goes: hf:owner/name.
        card: Text of the card, instead of what `segmenter card` prints.
        public: Let all see the repository, where it is made anew.
        overwrite: Replace another model or card that is there.
    """
    from segmenter.extras.sharing.share_model import run_push

    run_push(model, name, card_file=card, public=public, overwrite=overwrite)
    return DONE


def models() -> int:
    """List the models that need no network: bundled ones, and those of the hub in its cache."""
    from segmenter.extras.sharing.share_model import run_listing

    run_listing()
    return DONE
