"""Bipartite matching: the cheapest pairs of rows and columns of a matrix of costs."""

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

_NONE = -1


def match(
    costs: Float64[ndarray, "rows columns"],
) -> tuple[Int64[ndarray, " pairs"], Int64[ndarray, " pairs"]]:
    """Pair rows with columns so that the sum of their costs is smallest.

    Exact: rows are added one by one along shortest augmenting paths (Jonker and Volgenant 1987; for
    matrices that are not square, Crouse 2016). It makes `pairs` ** 2 passes over the longer axis.

    Args:
        costs: Finite, of either sign.

    Returns:
        The rows in rising order, and the column of each; as many as the shorter axis is long.

    Example:
        >>> rows, columns = match(np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 1], [1, 0])
    """
    num_rows, num_columns = costs.shape
    if num_rows > num_columns:
        columns, rows = match(costs.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    row_prices, column_prices = np.zeros(num_rows), np.zeros(num_columns)
    row_of = np.full(num_columns, _NONE)
    column_of = np.full(num_rows, _NONE)
    for row in range(num_rows):
        distances, previous, last = _shortest_path(costs, row, row_of, row_prices, column_prices)
        # Of the columns nearer than the last, prices rise until the path to it costs nothing.
        passed = (distances < distances[last]) & (row_of != _NONE)
        gains = distances[last] - distances[passed]
        row_prices[row_of[passed]] += gains
        column_prices[passed] -= gains
        row_prices[row] += distances[last]
        column = last
        while column != _NONE:
            taker = previous[column]
            row_of[column] = taker
            column, column_of[taker] = (column_of[taker] if taker != row else _NONE), column
    return np.arange(num_rows), column_of


def _shortest_path(
    costs: Float64[ndarray, "rows columns"],
    row: int,
    row_of: Int64[ndarray, " columns"],
    row_prices: Float64[ndarray, " rows"],
    column_prices: Float64[ndarray, " columns"],
) -> tuple[Float64[ndarray, " columns"], Int64[ndarray, " columns"], int]:
    """Find the cheapest path from a row to a free column over pairs made so far (Dijkstra).

    Returns:
        The distance of each column reached (infinite: not reached), the row before it, and the
        free column.
    """
    distances = np.full(len(column_prices), np.inf)
    previous = np.full(len(column_prices), _NONE)
    is_open = np.ones(len(column_prices), dtype=bool)
    so_far = 0.0
    while True:
        reduced = so_far + costs[row] - row_prices[row] - column_prices
        is_nearer = is_open & (reduced < distances)
        distances[is_nearer] = reduced[is_nearer]
        previous[is_nearer] = row
        column = int(np.where(is_open, distances, np.inf).argmin())
        is_open[column] = False
        if row_of[column] == _NONE:
            return distances, previous, column
        so_far, row = distances[column], row_of[column]
