"""The one OpenVINO core of this process."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openvino import Core


@cache
def openvino_core() -> "Core":
    """What reads and compiles graphs; made once, and never let go.

    Its processor plugin gives the thread that makes it a stack for signals, and when it ends puts
    back the stack that it found. Of two that end in the order in which they began, the second one
    puts back what the first has freed, and the next signal (a child process that ends) is the end
    of ours.
    """
    import openvino

    return openvino.Core()
