"""Layers of labels: what was painted, what was accepted, and steps back and forth."""

import json

import numpy as np
import pytest

from segmenter.errors import UserError
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING, Acceptance, Layers, read_operation
from segmenter.extras.labelling.runs import box_of, mask_of, read_runs, runs_of
from tests.helpers.labelling import make_stroke

SHAPE = (6, 9)


def random_operations(count: int, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    operations = []
    for _ in range(count):
        runs = runs_of(rng.random(SHAPE) < 0.2)
        value = int(rng.choice([0, 1, 2, NOT_SURE, NOTHING]))
        tool = "grow" if value < 3 and rng.random() < 0.3 else "brush"
        operations.append(make_stroke(value, *runs.tolist(), tool=tool))
        if rng.random() < 0.3:
            labels = rng.choice(np.array([0, 1, NOTHING], np.uint8), SHAPE)
            operations.append(Acceptance.of_proposal(labels))
        if rng.random() < 0.1:
            labels = rng.choice(np.array([0, 1, NOTHING], np.uint8), SHAPE)
            operations.append(Acceptance.of_mask(labels))
    return operations


def test_runs_hold_exactly_the_pixels_of_their_mask() -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.95):
        mask = rng.random(SHAPE) < share
        runs = runs_of(mask)
        np.testing.assert_array_equal(mask_of(runs, SHAPE), mask)
        np.testing.assert_array_equal(read_runs(runs.ravel().tolist(), SHAPE), runs)
        rows, columns = np.nonzero(mask)
        edges = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert box_of(runs) == edges


@pytest.mark.parametrize(
    "flat", [[], [0, 1], [0, 3, 3], [0, 4, 3], [-1, 0, 2], [6, 0, 2], [0, -1, 2], [0, 0, 10]]
)
def test_runs_outside_of_the_image_are_refused(flat: list[int]) -> None:
    with pytest.raises(UserError, match=r"leaves the image of 6 x 9|numbers; it takes three"):
        read_runs(flat, SHAPE)


def test_every_undo_and_redo_shows_the_labels_of_that_time() -> None:
    layers, seen = Layers(SHAPE), []
    for operation in random_operations(80):
        seen.append((layers.painted.copy(), layers.accepted.copy()))
        layers.add(operation)
    last = (layers.painted.copy(), layers.accepted.copy())
    for painted, accepted in reversed(seen):
        layers.undo()
        np.testing.assert_array_equal(layers.painted, painted)
        np.testing.assert_array_equal(layers.accepted, accepted)
    assert not layers.can_undo
    while layers.can_redo:
        layers.redo()
    np.testing.assert_array_equal((layers.painted, layers.accepted), last)


def test_a_stroke_after_an_undo_takes_the_place_of_what_was_undone() -> None:
    operations = random_operations(70)
    layers = Layers(SHAPE)
    for operation in operations:
        layers.add(operation)
    for _ in range(40):
        layers.undo()
    layers.add(make_stroke(1, (0, 0, 9)))
    assert not layers.can_redo
    direct = Layers(SHAPE)
    for operation in [*operations[: len(operations) - 40], make_stroke(1, (0, 0, 9))]:
        direct.add(operation)
    layers.add(make_stroke(2, (1, 0, 9)))
    layers.undo()
    np.testing.assert_array_equal(layers.labels, direct.labels)


def test_what_was_painted_stays_above_what_is_accepted_and_the_eraser_takes_both() -> None:
    layers, proposal = Layers(SHAPE), Acceptance.of_proposal(np.full(SHAPE, 1, np.uint8))
    layers.add(make_stroke(0, (0, 0, 3)))
    assert proposal is not None
    layers.add(proposal)
    layers.add(make_stroke(2, (1, 0, 3), tool="grow"))
    assert layers.labels[0, :4].tolist() == [0, 0, 0, 1]
    assert (layers.painted[1] == NOTHING).all()
    assert layers.labels[1, :4].tolist() == [2, 2, 2, 1]
    layers.add(make_stroke(NOTHING, (0, 0, 9)))
    assert (layers.labels[0] == NOTHING).all()


def test_a_mask_that_an_older_version_took_over_stays_under_what_was_painted() -> None:
    entry = Acceptance.of_mask(np.full(SHAPE, 1, np.uint8)).entry()
    del entry["replaces"]
    layers = Layers(SHAPE)
    layers.add(make_stroke(0, (0, 0, 3)))
    layers.add(read_operation(entry, SHAPE))
    assert layers.labels[0, :4].tolist() == [0, 0, 0, 1]


def test_operations_are_read_back_from_the_record() -> None:
    for operation in random_operations(20):
        again = read_operation(json.loads(json.dumps(operation.entry())), SHAPE)
        first, second = Layers(SHAPE), Layers(SHAPE)
        assert first.add(operation) == second.add(again)
        np.testing.assert_array_equal(first.labels, second.labels)


def test_nothing_is_accepted_of_an_empty_proposal() -> None:
    assert Acceptance.of_proposal(np.full(SHAPE, NOTHING, np.uint8)) is None
