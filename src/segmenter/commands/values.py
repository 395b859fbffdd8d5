"""What several commands take, and what the exit status of one says."""

from typing import Literal

DONE, USER_ERROR, PARTLY_DONE = 0, 2, 3

RuntimeName = Literal["auto", "torch", "torch-compile", "openvino", "onnxruntime"]
Precision = Literal["auto", "float32", "bfloat16"]
Decode = Literal["argmax", "iou", "dice"]
