"""Bootstrap intervals equal those of a naive resampling of images."""

import itertools

import numpy as np
import pytest

from segmenter.evaluation import bootstrap
from segmenter.evaluation.bootstrap import LEVEL, SEED, ImageCounts, image_counts
from segmenter.evaluation.evaluate import score_image
from segmenter.evaluation.metrics import ConfusionMatrix, mean_of_defined, scores
from tests.evaluation.naive import IGNORED, random_labels

NAMES = ["a", "b", "c", "d"]


def random_matrices(num_images: int, seed: int = 0) -> list[ConfusionMatrix]:
    """Of images in which most classes are missing; `d` is nearly nowhere."""
    rng = np.random.default_rng(seed)
    matrices = []
    for index in range(num_images):
        true, predicted = random_labels(rng, (6, 7), 4 if index == 0 else 3)
        matrix = ConfusionMatrix(4, IGNORED)
        matrix.add(true, predicted)
        matrices.append(matrix)
    return matrices


def counts_of(matrices: list[ConfusionMatrix], rule: str = "skip", background=None) -> ImageCounts:
    return ImageCounts(np.stack([image_counts(each) for each in matrices]), rule, background)


def naive_score(drawn: list[ConfusionMatrix], rule: str, background: int | None) -> dict:
    """All scores of the images that were drawn, by adding up their matrices."""
    total = ConfusionMatrix(4, IGNORED)
    for each in drawn:
        total.merge(each)
    found = scores(total, NAMES, absent_rule=rule, background_index=background)
    images = [score_image("", scores(m, NAMES, background_index=background)) for m in drawn]
    return {
        "miou": found.miou,
        "mean_accuracy": found.mean_accuracy,
        "pixel_accuracy": found.pixel_accuracy,
        "mean_dice": found.mean_dice,
        "photo_miou": mean_of_defined([each.miou for each in images]),
        "photo_mean_dice": mean_of_defined([each.mean_dice for each in images]),
        **{each.name: each.iou for each in found.classes},
    }


def naive_draws(num_images: int) -> list[list[int]]:
    """The images of each resample."""
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(num_images, [1 / num_images] * num_images, bootstrap.NUM_RESAMPLES)
    return [list(itertools.chain(*([i] * n for i, n in enumerate(row)))) for row in times.tolist()]


def naive_interval(values: list[float | None]) -> tuple[float, float]:
    ordered = sorted(value for value in values if value is not None)
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return tuple(np.interp(end * (len(ordered) - 1), range(len(ordered)), ordered) for end in ends)


@pytest.mark.parametrize("rule", ["skip", "one", "zero"])
@pytest.mark.parametrize("background", [None, 0])
def test_intervals_are_those_of_adding_up_matrices_draw_by_draw(
    monkeypatch: pytest.MonkeyPatch, rule, background
) -> None:
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 150)
    matrices = random_matrices(7)
    found = counts_of(matrices, rule, background).intervals()
    scored = [
        naive_score([matrices[i] for i in drawn], rule, background) for drawn in naive_draws(7)
    ]
    pairs = {**found.means, **dict(zip(NAMES, found.ious, strict=True))}
    for name, interval in pairs.items():
        expected = naive_interval([each[name] for each in scored])
        assert (interval.low, interval.high) == pytest.approx(expected), name


def test_intervals_of_differences_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 150)
    mine, other = random_matrices(6, seed=1), random_matrices(6, seed=2)
    found = counts_of(mine).intervals_over(counts_of(other))
    scored = [
        tuple(naive_score([side[i] for i in drawn], "skip", None) for side in (mine, other))
        for drawn in naive_draws(6)
    ]
    for name in ("miou", "pixel_accuracy", "photo_miou"):
        expected = naive_interval([one[name] - two[name] for one, two in scored])
        assert (found.means[name].low, found.means[name].high) == pytest.approx(expected)


def test_a_model_against_itself_differs_by_nothing_and_images_that_are_alike_by_no_more() -> None:
    counts = counts_of(random_matrices(5))
    itself = counts.intervals_over(counts)
    assert {(each.low, each.high) for each in itself.means.values()} == {(0.0, 0.0)}
    alike = counts_of(random_matrices(1) * 9).intervals()
    assert alike.means["miou"].low == pytest.approx(alike.means["miou"].high)


def test_two_images_by_hand() -> None:
    """One all right, one all wrong: a quarter of the draws has only the one, or only the other."""
    right, wrong = ConfusionMatrix(2, IGNORED), ConfusionMatrix(2, IGNORED)
    right.add(np.array([0, 1]), np.array([0, 1]))
    wrong.add(np.array([0, 1]), np.array([1, 0]))
    counts = ImageCounts(np.stack([image_counts(right), image_counts(wrong)]), "skip", None)
    found = counts.intervals()
    assert (found.means["pixel_accuracy"].low, found.means["pixel_accuracy"].high) == (0, 1)
    assert (found.ious[0].low, found.ious[0].high) == (0, 1)


def test_intervals_cover_the_true_accuracy_about_as_often_as_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 400)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        right = rng.binomial(100, 0.7, 60)
        counts = np.stack([np.stack([right, np.full(60, 100), np.full(60, 100)])] * 2, axis=2)
        interval = ImageCounts(counts.transpose(1, 0, 2), "skip", None).intervals()
        covered += (
            interval.means["pixel_accuracy"].low <= 0.7 <= interval.means["pixel_accuracy"].high
        )
    assert 0.89 <= covered / 200 <= 0.99


def test_one_image_has_no_interval_and_unequal_numbers_cannot_be_paired() -> None:
    one, two = counts_of(random_matrices(1)), counts_of(random_matrices(2))
    assert one.intervals() is None
    assert one.intervals_over(one) is None
    with pytest.raises(ValueError, match="1 images against 2"):
        one.intervals_over(two)


def test_a_class_that_is_nowhere_has_no_interval_and_the_json_has_no_nan() -> None:
    matrix = ConfusionMatrix(2, IGNORED)
    matrix.add(np.array([0, 0]), np.array([0, 0]))
    found = ImageCounts(np.stack([image_counts(matrix)] * 3), "skip", None).intervals()
    assert found.ious[1] is None
    assert found.to_json(["a", "b"])["iou"] == {"a": [1.0, 1.0], "b": None}
