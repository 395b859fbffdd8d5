"""The service reads images of more than 8 bits a sample as its model was trained."""

import asyncio

import cv2
import numpy as np

from segmenter.extras.serving.decoding import DecodePool
from segmenter.extras.serving.service_settings import ServiceSettings


def test_a_dark_image_is_read_with_the_bits_of_the_model() -> None:
    done, data = cv2.imencode(".png", np.full((8, 8), 1000, np.uint16))
    assert done

    async def decode() -> np.ndarray:
        pool = DecodePool(ServiceSettings(), image_bits=12)
        try:
            return await pool.decode(data.tobytes())
        finally:
            pool.close()

    assert (asyncio.run(decode()) == 1000 >> 4).all()
