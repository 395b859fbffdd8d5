"""The `segmenter` command: run a command of `command_table.py`; a mistake is one line."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from inspect import BoundArguments
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from segmenter.api.inputs import check_outputs
from segmenter.commands.arguments import convert_strictly, problem_of
from segmenter.commands.command_table import GROUPS, RENAMED
from segmenter.commands.streams import OutputError, guarded_streams, silence_output
from segmenter.errors import USER_ERROR, EarlyExit, UserError
from segmenter.spelling import messages_name
from segmenter.text import visible

_INTERRUPTED, _READER_HAS_GONE = 130, 141  # as shells count what a signal ends


def _make_app() -> App:
    app = App(
        name="segmenter",
        help="Semantic segmentation with plain vision transformers: train, evaluate, predict.",
        version=lambda: version("vit-segmenter"),
        help_format="plaintext",  # the overview has no markup, and rich.markdown imports slowly
        default_parameter=Parameter(
            converter=convert_strictly, consume_multiple=True, negative_iterable=()
        ),
    )
    for title, commands in GROUPS.items():
        group = Group.create_ordered(title)
        for name, command in commands.items():
            module, _, function = command.where.partition(":")
            app.command(
                f"segmenter.commands.{module}:{function or module}",
                name=name,
                group=group,
                help=command.help,
                help_epilogue=command.epilogue(name),
                help_format="markdown",
            )
    return app


app = _make_app()


def parse(words: Sequence[str]) -> tuple[Callable[..., Any], BoundArguments]:
    """Return the function of a command line and its arguments, without a call.

    Args:
        words: The words after `segmenter`.

    Raises:
        UserError, CycloptsError: If they are not a command line.
    """
    tokens = [_long(word) for word in words]
    _check_flags(tokens)
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    return command, bound


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command; a mistake of the user prints one line, a bug of ours a traceback.

    Args:
        arguments: The words after `segmenter`; if None, those of this process.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    with guarded_streams(), messages_name("flags"), _cleaning_up_at_sigterm():
        sys.exit(_run(tokens) or 0)


@contextlib.contextmanager
def _cleaning_up_at_sigterm() -> Iterator[None]:
    """Have SIGTERM raise `SystemExit`: files and folders that are not finished are removed."""

    def end(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # a second one would break the removal off
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _run(tokens: Sequence[str]) -> int | str | None:
    """Run the command and return its exit status, also if its output cannot be written."""
    try:
        status = _answer_mistakes(tokens)
        sys.stdout.flush()
        return status
    except OutputError as problem:
        silence_output()
        if problem.reader_has_gone:  # such as `| head`, which has read enough
            return _READER_HAS_GONE
        return _refuse(str(problem))


def _answer_mistakes(tokens: Sequence[str]) -> int | str | None:
    """Run the command and return its exit status; a mistake prints one line."""
    try:
        command, bound = parse(tokens)
        check_outputs(bound.arguments)
        return command(*bound.args, **bound.kwargs)
    except SystemExit as ended:
        return ended.code
    except CycloptsError as mistake:
        return _refuse(problem_of(mistake))
    except UserError as mistake:
        return _refuse(str(mistake))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # of a process or pipe that we wrote to
        return _READER_HAS_GONE
    except EarlyExit as ended:
        if str(ended):  # of several processes, one speaks
            print(f"segmenter: {ended}", file=sys.stderr)
        return ended.exit_status
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or ["memory is full"])[0]
        return _refuse(
            f"out of memory: {reason}; give smaller images, crops, windows or batches, or free "
            "memory that other programs hold"
        )


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:  # nothing was computed yet
        return isinstance(error, MemoryError)
    from segmenter.runtimes.devices import is_out_of_memory

    return is_out_of_memory(error)


def _long(token: str) -> str:
    """Expand `--model.decoder mask`, which is short for `--model.decoder.kind mask`."""
    flag, equals, value = token.partition("=")
    return f"{flag}.kind{equals}{value}" if flag == "--model.decoder" else token


def _check_flags(tokens: Sequence[str]) -> None:
    """Reject flags of 0.1.0, and `--model FILE --model.decoder mask`: a section has no value."""
    flags = [token.partition("=")[0] for token in tokens if token.startswith("--")]
    for flag in flags:
        renamed = RENAMED.get(f"{tokens[0]} {flag}") or RENAMED.get(flag)
        if renamed is not None:
            raise UserError(f"{flag} is now {renamed}")
        inner = next((other for other in flags if other.startswith(f"{flag}.")), None)
        if inner is not None and flag != "--data":  # which stands for data.root
            raise UserError(
                f"{flag} and {inner} contradict: {flag[2:]} is a section of the recipe; give its "
                "fields alone, and a model to start from as --from FILE"
            )


def _refuse(message: str) -> int:
    print("segmenter: " + visible(" ".join(message.split())), file=sys.stderr)
    return USER_ERROR
