"""Float16 tensors go through their two planes of bytes unchanged."""

import torch

from segmenter.checkpoints.encoders.byte_planes import join_bytes, split_bytes


def test_every_float16_comes_back_bit_for_bit() -> None:
    words = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(256, 256)
    planes = split_bytes(words.view(torch.float16))
    assert planes.shape == (2, 256, 256)
    assert torch.equal(join_bytes(planes).view(torch.int16), words)


def test_the_low_bytes_come_first() -> None:
    planes = split_bytes(torch.tensor([1.0], dtype=torch.float16))  # 0x3c00
    assert planes.tolist() == [[0x00], [0x3C]]
