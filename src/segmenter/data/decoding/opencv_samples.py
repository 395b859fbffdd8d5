"""Samples of more than 8 bits, which OpenCV decodes where Pillow drops bits."""

import cv2
import numpy as np
from numpy import ndarray


def opencv_samples(data: bytes) -> ndarray | None:
    """Decode an image in OpenCV's order of bands; None if it fails, without a word of OpenCV."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(before)
