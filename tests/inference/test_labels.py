import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segmenter.inference import labels as labels_module
from segmenter.inference.labels import add_resized, resize_rows, row_bands, to_labels

SIZES = [(7, 9), (21, 27), (20, 9), (7, 31), (3, 4), (1, 1), (50, 2)]


def resized(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]


@pytest.fixture
def _narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of one to three rows, so that small pictures have several."""
    monkeypatch.setattr(labels_module, "_BAND_NUMBERS", 100)


@pytest.mark.parametrize("size", SIZES)
def test_rows_resized_by_themselves_equal_rows_of_the_whole(size):
    scores = torch.randn(5, 7, 9)
    rows = slice(size[0] // 3, size[0])
    torch.testing.assert_close(
        resize_rows(scores, size, rows), resized(scores, size)[:, rows], atol=1e-5, rtol=0
    )


@pytest.mark.usefixtures("_narrow_bands")
def test_bands_cover_each_row_once():
    rows = [row for band in row_bands(5, (50, 9)) for row in range(band.start, band.stop)]
    assert rows == list(range(50))
    assert len(list(row_bands(5, (50, 9)))) > 10
    assert len(list(row_bands(500, (50, 9)))) == 50


@pytest.mark.usefixtures("_narrow_bands")
@pytest.mark.parametrize("size", SIZES)
def test_labels_are_the_highest_of_the_resized_scores(size):
    scores = torch.randn(5, 7, 9)
    expected = resized(scores, size).argmax(dim=0).numpy()
    np.testing.assert_array_equal(to_labels(scores, size, np.uint8), expected)


def test_the_first_of_equal_classes_wins():
    scores = torch.tensor([0.0, 1.0, 1.0, 0.5]).view(4, 1, 1).expand(4, 3, 3)
    assert (to_labels(scores, (6, 5), np.uint8) == 1).all()


def test_more_than_255_classes_give_wide_labels():
    scores = torch.zeros(300, 2, 2)
    scores[299] = 1
    labels = to_labels(scores, (4, 4), np.uint16)
    assert labels.dtype == np.uint16
    assert (labels == 299).all()


@pytest.mark.usefixtures("_narrow_bands")
def test_a_sum_of_softmaxes_is_of_the_resized_scores():
    scores, total = torch.randn(5, 7, 9), torch.ones(5, 20, 30)
    add_resized(total, scores, softmax=True)
    torch.testing.assert_close(total, 1 + resized(scores, (20, 30)).softmax(dim=0))
    add_resized(total.zero_(), scores, softmax=False)
    torch.testing.assert_close(total, resized(scores, (20, 30)), atol=1e-5, rtol=0)
