"""`segmenter fit`: compute tokens, fit, estimate, tune if asked for, and write the model."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from segmenter.api.labelled_images import LabelledImages, read_labelled
from segmenter.checkpoints.model_file import save
from segmenter.data.folder import Item, read_labels
from segmenter.data.trained_on import own_list, write_own_list
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import Evaluation, count_agreement, evaluate
from segmenter.evaluation.reports.score_tables import print_lines, print_scores
from segmenter.files.outputs import check_new, write_json
from segmenter.fitting.classifier import Classifier
from segmenter.fitting.fitted_model import with_classifier
from segmenter.fitting.left_out import FoldFits, fit_folds, fold_numbers
from segmenter.fitting.needs import class_in_need
from segmenter.fitting.propose import label_pixels
from segmenter.fitting.samples import Samples, sample_images
from segmenter.fitting.start import Start, prepare_start, spread
from segmenter.fitting.tokens import TokenStore
from segmenter.fitting.tune import Tuning
from segmenter.inference.predictor import Predictor
from segmenter.model import ModelSpec, Segmenter
from segmenter.numbers import MAX_SIDE
from segmenter.options import Device, FitData, FitOptions, FitOutput
from segmenter.runtimes.devices import device_line, usable_device
from segmenter.runtimes.features import feature_runtime
from segmenter.terminal import progress_bar, show, timed_progress
from segmenter.text import counted, duration, percent

Log = Callable[[str], None]
Found = TypeVar("Found")
_MAX_ESTIMATED = 100
"""Images that the estimate is made of, at most: evenly spread."""
_MAX_COMPARED = 20
"""Images by which a tuned model is compared with the fit, at most."""
_CHOICE = 0.6
"""Share of the minutes after which the fit or the tuned model is chosen."""
_LEFT_OUT = "images left out"
"""Name of the estimate among the scores of the model."""
_MAX_MINUTES = 24 * 60.0


@dataclass(frozen=True, repr=False)
class FittedModel:
    """The result of `fit`: the file of a model, and an estimate of its scores.

    Example:
        fitted = segmenter.fit("fields", "fields.safetensors")
        fitted.path, fitted.num_images, fitted.needs
    """

    path: Path
    """File of the model."""
    num_images: int
    """Labelled images that it was fitted to, or trained on if `is_tuned`."""
    estimate: Evaluation | None
    """Scores on labelled images, each predicted by a fit that leaves it out. None if only one image
    is labelled."""
    needs: str | None
    """Name of the class that needs labels most."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of each part, such as `tokens` and `fit`."""
    is_tuned: bool = False
    """True: the encoder was trained too, and labelled images that were left out better."""

    @property
    def miou(self) -> float | None:
        """Estimated mean IoU on new images, from 0 to 1."""
        return self.estimate.miou if self.estimate else None

    def __repr__(self) -> str:
        """Return path and estimate in one line."""
        return f"FittedModel({str(self.path)!r}, estimated mIoU {percent(self.miou)})"


class _Comparison(NamedTuple):
    """A model that was trained after the fit, and what tells whether it is better."""

    model: Segmenter
    steps: int
    """Updates of its weights."""
    before: Evaluation
    """Scores of the fit, on images that it does not know."""
    after: Evaluation
    """Those of the model, on the same images, before it was trained on them."""

    @property
    def is_better(self) -> bool:
        """Return True if training helped."""
        return _miou_of_shown(self.after) > _miou_of_shown(self.before)

    def line(self) -> str:
        """Say which model is kept, and why."""
        before, after = (percent(_miou_of_shown(each)) for each in (self.before, self.after))
        images, kept = counted(len(self.after.images), "image"), "fitted"
        if self.is_better:
            kept = "tuned"
        return (
            f"on {images} left out, mIoU of their classes {before} as fitted and {after} after "
            f"{counted(self.steps, 'step')}: the {kept} model is kept"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was compared as plain values."""
        return {
            "images": len(self.after.images),
            "steps": self.steps,
            "fitted_miou": _miou_of_shown(self.before),
            "tuned_miou": _miou_of_shown(self.after),
        }


def run_fit(
    data: str,
    out: Path,
    start: str,
    which: FitData,
    fit: FitOptions,
    device: Device,
    output: FitOutput,
    log: Log = show,
) -> FittedModel:
    """Fit a decoder to the labelled images of a data set, and write the model.

    Raises:
        UserError: If the data, the start, the device or an output cannot be used.
    """
    _check(out, fit, output)
    torch_device = usable_device(device.device)
    labelled = read_labelled(data, which, log)
    sizes = labelled.sizes, fit.short_side, fit.shifts
    prepared = prepare_start(start, data, labelled.classes, *sizes)
    runtime = feature_runtime(prepared.model.to(torch_device))
    tokens = f"tokens by {runtime.describe()}"
    for line in (device_line(torch_device, device.device), *prepared.lines, tokens):
        log(line)
    store, timer = TokenStore(prepared.model, runtime=runtime), _Timer()
    samples = timer("tokens", lambda: _sampled(store, labelled))
    fits = timer("fit", lambda: fit_folds(samples, len(labelled.classes)))
    places = spread(len(labelled.items), _MAX_ESTIMATED)
    estimate = timer("estimate", lambda: _scored(store, labelled, _known(fits, places)))
    tuning = None
    if fit.minutes is not None:
        seconds = 60 * fit.minutes
        fitted = _Fitted(store, labelled, prepared, samples, fits)
        tuning = timer("tuning", lambda: _tuned(fitted, seconds, log))
    model = with_classifier(prepared.model, fits.whole)
    is_tuned = tuning is not None and tuning.is_better
    if tuning is not None and is_tuned:
        model, estimate = tuning.model, tuning.after
    needs = class_in_need(labelled.classes, labelled.pixel_counts, estimate)
    result = FittedModel(
        out, len(labelled.items), estimate, needs, timer.seconds, is_tuned=is_tuned
    )
    model.spec = _described(model, result)
    save(model, out, overwrite=output.overwrite)
    images = [item.image for item in labelled.items]
    before = Path(start) if Path(start).is_file() else None
    write_own_list(out, images, before, overwrite=output.overwrite)
    if output.json:
        given: dict[str, Any] = {"data": data, "start": start, "runtime": runtime.describe()}
        given |= {"shifts": fit.shifts, "minutes": fit.minutes}
        found = _to_json(result, given, model, fits)
        found["tuning"] = tuning and tuning.to_json()
        write_json(output.json, found, overwrite=output.overwrite)
    return result


def print_fit(result: FittedModel) -> None:
    """Show the estimate of a fit, the class that needs labels, and the path of the model."""
    if result.estimate is None:
        print_lines("no estimate: label at least two images, each with two classes")
    else:
        how = "each left out of its fit"
        if result.is_tuned:
            how = "left out of the training until the model was chosen by them"
        scored = counted(len(result.estimate.images), "image")
        print_lines(f"estimate for new images, from {scored}, {how}:")
        print_scores(result.estimate)
    done = "trained on" if result.is_tuned else "fitted to"
    times = ", ".join(f"{name} {duration(each)}" for name, each in result.seconds.items())
    print_lines(
        result.needs and f"more labels help most for {result.needs!r}",
        f"{done} {counted(result.num_images, 'image')}: {times}",
        f"written: {result.path}",
    )


def _check(out: Path, fit: FitOptions, output: FitOutput) -> None:
    """Reject, before any work, options and outputs that cannot be used."""
    if output.json and output.json.resolve() in (out.resolve(), own_list(out).resolve()):
        raise UserError(f"--json names {output.json}, which the model is written to; give another")
    for path in (out, own_list(out), output.json):
        if path is None:
            continue
        check_new(path, overwrite=output.overwrite)
        if not os.access(path.absolute().parent, os.W_OK):
            raise UserError(f"{path} cannot be written: {path.absolute().parent} is read-only")
    if fit.short_side is not None and not 1 <= fit.short_side <= MAX_SIDE:
        raise UserError(f"--short-side is from 1 to {MAX_SIDE}, got {fit.short_side}")
    if fit.minutes is not None and not 0 < fit.minutes <= _MAX_MINUTES:
        raise UserError(f"--minutes is above 0 and at most {_MAX_MINUTES:g}, got {fit.minutes:g}")


class _Timer:
    """Runs functions and keeps how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, run: Callable[[], Found]) -> Found:
        begin = time.perf_counter()
        found = run()
        self.seconds[what] = time.perf_counter() - begin
        return found


def _sampled(store: TokenStore, labelled: LabelledImages) -> list[Samples]:
    items = labelled.items
    with timed_progress(f"encoding {counted(len(items), 'image')}", len(items)) as advance:
        return sample_images(store, items, labelled.classes, labelled.pixel_counts, advance)


def _known(fits: FoldFits, places: Sequence[int]) -> list[tuple[int, Classifier]]:
    """Return the images that a fit leaves out, each with that fit."""
    return [(place, fit) for place in places if (fit := fits.left_out[place]) is not None]


def _scored(
    store: TokenStore, labelled: LabelledImages, known: Sequence[tuple[int, Classifier]]
) -> Evaluation | None:
    """Score images, each by a fit that leaves it out; None without such a fit."""
    classes = labelled.classes
    if not known:
        return None

    def label() -> Iterator[tuple[Item, ndarray, ndarray]]:
        for place, fit in known:
            item = labelled.items[place]
            labels = label_pixels(store.read(item.image), fit)
            yield item, read_labels(item, classes), labels

    return count_agreement(label(), classes, store.model.spec.protocol)


class _Fitted(NamedTuple):
    """A fit, and the images and samples that it was made of."""

    store: TokenStore
    labelled: LabelledImages
    prepared: Start
    samples: Sequence[Samples]
    fits: FoldFits

    def held_out(self) -> Bool[ndarray, " images"]:
        """Return which images tell whether training helps: neighbours, a fifth, at least one."""
        usable = [place for place, fit in enumerate(self.fits.left_out) if fit is not None]
        if not usable:
            raise UserError("--minutes needs two images of two classes each; label more")
        numbers = fold_numbers(len(self.samples), 0)
        return numbers == numbers[usable[len(usable) // 2]]

    def without(self, is_held: Bool[ndarray, " images"]) -> Classifier:
        """Return the fit to all images but some.

        Raises:
            UserError: If the others are of one class.
        """
        first = int(np.flatnonzero(is_held)[0])
        found = self.fits.left_out[first]
        if found is not None and np.array_equal(self.fits.folds == self.fits.folds[first], is_held):
            return found
        known = [each for each, held in zip(self.samples, is_held, strict=True) if not held]
        return fit_folds(known, len(self.labelled.classes)).whole


def _tuned(fitted: _Fitted, seconds: float, log: Log) -> _Comparison | None:
    """Train the model on all images but some, and on all if that is better than the fit.

    Returns:
        None where nothing would tell whether it helps, an image cannot be read any more, or Ctrl-C
        comes before that is known.
    """
    try:
        return _compared(fitted, seconds, log)
    except UserError as error:  # the fit is there, and must not be lost
        log(f"warning: not tuned, the fitted model is kept: {error}")
    except KeyboardInterrupt:
        log("stopped by Ctrl-C: the fitted model is kept")
    return None


def _compared(fitted: _Fitted, seconds: float, log: Log) -> _Comparison:
    """Train the model on all images but those held out, then on all if it labels these better."""
    store, labelled, prepared, *_ = fitted
    is_held = fitted.held_out()
    classifier, held = fitted.without(is_held), np.flatnonzero(is_held)
    places = [int(held[each]) for each in spread(len(held), _MAX_COMPARED)]
    of_fit = _scored(store, labelled, [(place, classifier) for place in places])
    assert of_fit is not None
    model = with_classifier(prepared.model, classifier)
    items = [item for item, held in zip(labelled.items, is_held, strict=True) if not held]
    log(f"training the encoder on {counted(len(items), 'image')}, then on all: {duration(seconds)}")
    with progress_bar("tuning") as move:

        def advance(progress: float) -> None:
            move(int(1000 * progress), 1000)

        tuning = Tuning(model, prepared.recipe, seconds, advance)
        tuning.train(items, labelled.pixel_counts[~is_held], until=_CHOICE)
        if not tuning.steps:
            raise UserError("the time is too short for one step; give --minutes more")
        compared = [labelled.items[each] for each in places]
        tuned = tuning.averaged()
        found = evaluate(Predictor(tuned, precision="float32"), compared, labelled.classes)
        chosen = _Comparison(tuned, tuning.steps, of_fit, found)
        log(chosen.line())
        if chosen.is_better:
            _train_on_all(tuning, labelled, log)
    return chosen._replace(model=tuning.averaged(), steps=tuning.steps)


def _train_on_all(tuning: Tuning, labelled: LabelledImages, log: Log) -> None:
    """Continue with all images; what ends that early leaves the model that is trained so far."""
    try:
        tuning.train(labelled.items, labelled.pixel_counts)
    except UserError as error:
        log(f"warning: stopped, the model trained so far is kept: {error}")
    except KeyboardInterrupt:
        log("stopped by Ctrl-C: the model trained so far is kept")


def _miou_of_shown(evaluation: Evaluation) -> float:
    """Return the mean IoU over the classes that images show: a stray pixel of another counts less.

    On one or two images, each class that they do not show would be worth as much as one they do.
    """
    return float(np.mean([each.iou or 0.0 for each in evaluation.scores.classes if each.pixels]))


def _described(model: Segmenter, result: FittedModel) -> ModelSpec:
    """Return the spec of a model with what it says of its origin and its scores."""
    count, estimate = counted(result.num_images, "image"), result.estimate
    origin = f"Decoder fitted to {count}, the encoder frozen."
    if result.is_tuned:
        origin = f"Decoder and encoder trained on {count}, from a fit to them."
    scores = {}
    if estimate is not None:
        scores[_LEFT_OUT] = {**estimate.scores.to_json(), "num_images": len(estimate.images)}
    provenance = f"{model.spec.provenance} {origin}".strip()
    return model.spec.model_copy(update={"provenance": provenance, "scores": scores})


def _to_json(
    result: FittedModel, given: dict[str, Any], model: Segmenter, fits: FoldFits
) -> dict[str, Any]:
    """Return all measurements as plain values."""
    return {
        "model": str(result.path),
        **given,
        "num_images": result.num_images,
        "protocol": model.spec.protocol.model_dump(mode="json"),
        "strength": fits.strength,
        "folds": int(fits.folds.max()) + 1,
        "is_tuned": result.is_tuned,
        "needs": result.needs,
        "seconds": {name: round(each, 2) for name, each in result.seconds.items()},
        "estimate": result.estimate and result.estimate.to_json({}),
    }
