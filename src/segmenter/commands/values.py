"""What several commands take, and what the exit status of one says."""

from typing import Literal

from segmenter.runtimes.table import Precision, RuntimeName

__all__ = ["DONE", "PARTLY_DONE", "USER_ERROR", "Decode", "Precision", "RuntimeName"]

DONE, USER_ERROR, PARTLY_DONE = 0, 2, 3

Decode = Literal["argmax", "iou", "dice"]
