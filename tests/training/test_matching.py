"""The matching of queries and masks, against a search over all of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmenter.training.matching import match

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6))


def cheapest(costs: np.ndarray) -> float:
    """The smallest sum of costs, over all ways to pair rows and columns."""
    short, long = sorted(costs.shape)
    wide = costs if costs.shape[0] == short else costs.T
    choices = itertools.permutations(range(long), short)
    return min(wide[range(short), list(columns)].sum() for columns in choices)


@given(SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-100, 100))))
def test_no_other_pairs_are_cheaper(costs: np.ndarray) -> None:
    rows, columns = match(costs)
    assert costs[rows, columns].sum() == pytest.approx(cheapest(costs), abs=1e-9)


@given(SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(0, 2))))
def test_each_row_and_column_is_taken_once_also_where_many_pairs_cost_the_same(
    costs: np.ndarray,
) -> None:
    rows, columns = match(costs)
    assert len(rows) == len(columns) == min(costs.shape)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(set(columns.tolist())) == len(columns)
    assert costs[rows, columns].sum() == cheapest(costs)


@pytest.mark.parametrize("shape", [(150, 200), (200, 150), (19, 100)])
def test_scipy_finds_the_same_pairs_in_large_matrices(shape: tuple[int, int]) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    costs = np.random.default_rng(0).normal(size=shape)
    rows, columns = match(costs)
    expected_rows, expected_columns = optimize.linear_sum_assignment(costs)
    assert rows.tolist() == expected_rows.tolist()
    assert columns.tolist() == expected_columns.tolist()


def test_costs_that_stand_for_nan_are_taken_only_where_nothing_else_is_left() -> None:
    costs = np.array([[1e30, 2.0, 1.0], [1e30, 5.0, 9.0]])
    assert match(costs)[1].tolist() == [2, 1]
    assert match(costs[:, :2])[1].tolist() in ([0, 1], [1, 0])


def test_no_rows_make_no_pairs() -> None:
    rows, columns = match(np.zeros((0, 4)))
    assert rows.tolist() == columns.tolist() == []
