"""The `segmenter` command: one function per subcommand, no logic of its own."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter, Token
from cyclopts.validators import Number

from segmenter.errors import UserError
from segmenter.validation import parse_value

app = App(
    name="segmenter",
    help="Semantic segmentation with plain vision transformers: train, evaluate, predict.",
)

_DONE, _USER_ERROR, _PARTLY_DONE = 0, 2, 3


def _field(_type: object, tokens: dict[str, Any] | list[Token]) -> Any:
    """Take `--section.field VALUE` as a nested value; the recipe checks it."""
    if isinstance(tokens, dict):
        return {key: _field(_type, inner) for key, inner in tokens.items()}
    return parse_value(tokens[-1].value)


@app.command
def train(
    recipe: str = "finetune",
    *,
    folder: Annotated[str | None, Parameter(name="--data")] = None,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    partial: bool | None = None,
    out: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    **fields: Annotated[Any, Parameter(converter=_field, n_tokens=1)],
) -> int:
    """Train a model from a recipe, or from a folder of photos and masks alone.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
        folder: Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a
            published one, such as `ade20k:data/ADEChallengeData2016` (recipe: data.root).
        start: A model or encoder to start from (recipe: model.weights).
        partial: Take of it what fits, and start the rest fresh (recipe: model.partial).
        out: Folder of the run; without it, `runs/` and the recipe's name.
        resume: Go on from the newest checkpoint in the folder of the run.
        device: Where to compute: cpu, cuda, cuda:1, mps.
        fields: Any field of the recipe, such as `--schedule.steps 2000` or `--batch_size 4`.
    """
    from segmenter.commands.train import run_training
    from segmenter.recipe import read_recipe

    given: dict[str, Any] = {"data": {}, "model": {}}
    for key, value in fields.items():
        given[key] = given.get(key, {}) | value if isinstance(value, dict) else value
    if folder is not None:
        given["data"]["root"] = folder
    if start is not None:
        given["model"]["weights"] = start
    if partial is not None:
        given["model"]["partial"] = partial
    print(run_training(read_recipe(recipe, given), out, device, resume=resume))
    return _DONE


@app.command
def evaluate(
    model: str,
    data: str,
    *,
    split: str | None = None,
    json: Path | None = None,
    report: Path | None = None,
    classes: Path | None = None,
    protocol: str | None = None,
    short_side: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    whole: bool = False,
    flip: bool | None = None,
    scales: Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True)] = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    overwrite: bool = False,
) -> int:
    """Score a model on labelled photos: mIoU and friends.

    Args:
        model: A bundled name, or a model file.
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one: ade20k, cityscapes, pascal_context, pascal_context_59, pascal_voc, coco_stuff.
        split: Which photos of the folder; without it, `test`, or all where there is one split, or
            `val` of a published data set.
        json: File for all numbers.
        report: Folder for a page with tables, the confusion matrix, best and worst photos.
        classes: A `classes.yaml` other than the one in the folder.
        protocol: Score as a published code base does: segmenter, segmenter-miou, mmseg, paddleseg;
            without it, as the model's own spec says. The next six flags change single fields.
        short_side: Resize photos to this short side first; 0: not at all.
        window: Side of the sliding window.
        stride: Distance of neighbouring windows.
        whole: Take each photo as a whole, whatever the model's own way is.
        flip: Average with the mirrored photo.
        scales: Average over these sizes, such as `--scales 0.75 1 1.25`.
        device: Where to compute.
        precision: Arithmetic; float32 is what published scores are made with.
        overwrite: Replace files that are there.
    """
    from segmenter.commands.evaluate import run_evaluation

    changes = {
        "short_side": short_side,
        "window": window,
        "stride": stride,
        "flip": flip,
        "scales": scales,
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if whole:
        given |= {"window": None, "stride": None}
    if short_side == 0:
        given["short_side"] = None
    run_evaluation(
        model,
        data,
        split=split,
        json_file=json,
        report_folder=report,
        classes_file=classes,
        protocol=protocol,
        protocol_changes=given,
        device=device,
        precision=precision,
        overwrite=overwrite,
    )
    return _DONE


@app.command
def predict(
    *images: str,
    model: str = "street",
    out: Path = Path("predictions"),
    opacity: float = 0.5,
    ids: Literal["index", "source"] = "index",
    gallery: bool = False,
    submission: Literal["ade20k", "cityscapes"] | None = None,
    flip: bool | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    overwrite: bool = False,
) -> int:
    """Label every pixel of photos: an overlay with a legend, a colour map, and the raw labels.

    Args:
        images: Photos, folders of photos, or patterns such as `photos/**/*.jpg`.
        model: A bundled name, or a model file.
        out: Folder for the results.
        opacity: How strongly the colours lie over the photo: 0 none, 1 full.
        ids: What the raw label map holds: class indices, or the mask values of `classes.yaml`.
        gallery: Also write `index.html`, a page with all photos and overlays.
        submission: Write one PNG a photo with the ids of this benchmark's server, and nothing else.
        flip: Average with the mirrored photo.
        device: Where to compute.
        precision: Arithmetic.
        overwrite: Replace files in the folder that an earlier run did not write.
    """
    from segmenter.commands.predict import run_prediction

    failed = run_prediction(
        images,
        model,
        out,
        opacity=opacity,
        ids=ids,
        gallery=gallery,
        submission=submission,
        flip=flip,
        device=device,
        precision=precision,
        overwrite=overwrite,
    )
    return _PARTLY_DONE if failed else _DONE


@app.command
def convert(
    source: Path,
    out: Path,
    *,
    gpus: int | None = None,
    classes: Path | None = None,
    variant: Path | None = None,
    normalization: Literal["vit", "deit"] | None = None,
    window: int | None = None,
    stride: int | None = None,
    overwrite: bool = False,
) -> int:
    """Turn a checkpoint of another code base into a model file, or its config into a recipe.

    Args:
        source: A `.pdparams` or `.pth` of PaddleSeg, the paper's code or MMSegmentation; or a
            `.yml` config of PaddleSeg (read with its `_base_`), or a `variant.yml`.
        out: The file to write: a model, by custom `NAME.safetensors`, or a recipe, `NAME.yaml`.
        gpus: How many GPUs a config of PaddleSeg was run on; its batch size is that of one.
        classes: A `classes.yaml`, where the file does not say what its classes are.
        variant: The `variant.yml` of a checkpoint of the paper's code, if it is not beside it.
        normalization: Without any `variant.yml`: mean and std, 0.5 (vit) or ImageNet's (deit).
        window: Without any `variant.yml`: side of the sliding window.
        stride: Without any `variant.yml`: distance of neighbouring windows.
        overwrite: Replace a file that is there.
    """
    from segmenter.commands.convert import run_conversion

    run_conversion(
        source,
        out,
        classes_file=classes,
        variant_file=variant,
        normalization=normalization,
        window=window,
        stride=stride,
        gpus=gpus,
        overwrite=overwrite,
    )
    return _DONE


@app.command
def prepare(name: str, folder: Path, *, download: bool = False) -> int:
    """Bring a published data set into the layout that is read: unpack, convert, check.

    Args:
        name: ade20k, cityscapes, pascal_context, pascal_context_59, pascal_voc or coco_stuff.
        folder: Where its archives lie, or are downloaded to, and are unpacked; nothing in it is
            replaced.
        download: Get missing archives from the net.
    """
    from segmenter.commands.prepare import run_preparation

    is_whole = run_preparation(name, folder, may_download=download)
    return _DONE if is_whole else _PARTLY_DONE


@app.command
def explain(
    image: Path,
    *,
    model: str = "street",
    out: Path = Path("explanation"),
    patch: str | None = None,
    class_name: Annotated[str | None, Parameter(name="--class")] = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> int:
    """Show what a model looks at in a photo: the attention of every block and head, as one page.

    Args:
        image: A photo.
        model: A bundled name, or a model file.
        out: Folder for the page and its pictures.
        patch: Where to look from, as ROW,COLUMN of patches from 0; without it, the middle.
        class_name: A class to look from instead: its token in a mask decoder, and its surest patch.
        device: Where to compute.
        overwrite: Replace files in the folder that an earlier run did not write.
    """
    from segmenter.commands.explain import run_explanation

    page = run_explanation(
        image,
        model,
        out,
        patch=patch,
        class_name=class_name,
        device=device,
        overwrite=overwrite,
    )
    print(page)
    return _DONE


@app.command
def serve(
    model: str = "street",
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8000,
    max_requests: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 16,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> int:
    """Label photos over HTTP: POST /segment, the Open Inference Protocol, and /metrics.

    Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.

    Args:
        model: A bundled name, or a model file.
        host: Address to listen on; the default is reached from this machine alone.
        port: Port to listen on.
        max_requests: Requests that wait or are worked on at a time; more are told to come back.
        device: Where to compute.
        precision: Arithmetic.
    """
    from segmenter.commands.serve import run_service

    run_service(model, host, port, max_requests=max_requests, device=device, precision=precision)
    return _DONE


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
        sys.exit(app(tokens, exit_on_error=False, print_error=False))
    except CycloptsError as mistake:
        _refuse(f"{mistake} (see `segmenter --help`)")
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
        print(f"segmenter: {error}", file=sys.stderr)
        sys.exit(status)


def _refuse(message: str) -> NoReturn:
    print("segmenter: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(_USER_ERROR)
