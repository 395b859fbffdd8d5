"""Round numbers along the axes of a chart."""

import math


def round_steps(low: float | int, high: float | int, about: int = 4) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten that enclose a range.

    Args:
        low: Where the range begins.
        high: Where it ends; a range of no width is made wider.
        about: Number of steps between the first and the last.
    """
    if high <= low:
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
