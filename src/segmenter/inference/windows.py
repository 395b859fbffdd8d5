"""Where the windows lie that a large image is seen through."""

Box = tuple[slice, slice]
"""Rows and columns of an image."""


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixel of each window along one side; together they cover it.

    The last window is moved back inside the image, as in all published Segmenter code. A side that
    is no longer than the window has one window, at 0, which is as long as the side.
    """
    if length <= window:
        return [0]
    return [*range(0, length - window, stride), length - window]


def window_boxes(size: tuple[int, int], window: int, stride: int) -> list[Box]:
    """Every window over an image of `size` (height, width), row by row; all have the same size."""
    rows, columns = (
        [
            slice(start, min(start + window, length))
            for start in window_starts(length, window, stride)
        ]
        for length in size
    )
    return [(row, column) for row in rows for column in columns]
