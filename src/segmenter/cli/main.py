"""The `segmenter` command: one function per subcommand, no logic of its own."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from segmenter.cli.arguments import convert_strictly, problem_of
from segmenter.cli.benchmark import benchmark
from segmenter.cli.check import check
from segmenter.cli.compare import compare
from segmenter.cli.convert import convert
from segmenter.cli.evaluate import evaluate
from segmenter.cli.explain import explain
from segmenter.cli.export import export
from segmenter.cli.predict import predict
from segmenter.cli.prepare import prepare
from segmenter.cli.prune import prune
from segmenter.cli.serve import serve
from segmenter.cli.share import card, models, push
from segmenter.cli.train import train
from segmenter.cli.values import USER_ERROR
from segmenter.errors import UserError

app = App(
    name="segmenter",
    help="Semantic segmentation with plain vision transformers: train, evaluate, predict.",
    help_format="plaintext",  # the overview has no markup, and rich.markdown takes long to import
    default_parameter=Parameter(converter=convert_strictly),
)
for command in (
    check,
    train,
    evaluate,
    compare,
    predict,
    convert,
    prepare,
    export,
    prune,
    benchmark,
    explain,
    serve,
    models,
    card,
    push,
):
    app.command(command, help_format="markdown")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; a mistake of the user is one line, a bug of ours a traceback.

    Args:
        arguments: What follows `segmenter`; none: what the process was started with.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold any character
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_flags(tokens)
        sys.exit(app(tokens, exit_on_error=False, print_error=False))
    except CycloptsError as mistake:
        _refuse(problem_of(mistake))
    except UserError as mistake:
        _refuse(str(mistake))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        status = getattr(error, "exit_status", None)  # training.signals.Stopped, without torch
        if status is None:
            raise
        if str(error):  # of several processes, one speaks
            print(f"segmenter: {error}", file=sys.stderr)
        sys.exit(status)


def _check_flags(tokens: Sequence[str]) -> None:
    """Refuse `--model FILE --model.decoder mask`: a section of the recipe is no single value."""
    flags = [token.partition("=")[0] for token in tokens if token.startswith("--")]
    for flag in flags:
        inner = next((other for other in flags if other.startswith(f"{flag}.")), None)
        if inner is not None and flag != "--data":  # which stands for data.root
            raise UserError(
                f"{flag} and {inner} contradict: {flag[2:]} is a section of the recipe; give its "
                "fields alone, and a model to start from as --from FILE"
            )


def _refuse(message: str) -> NoReturn:
    print("segmenter: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(USER_ERROR)
