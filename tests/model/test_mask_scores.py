"""Scores that are summed over queries, against the plain formula in double precision."""

import math

import torch

from segmenter.model.mask_scores import LEAST_SCORE, MaskScores


def test_scores_are_the_sums_of_the_formula_however_small_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 7, 6, 8, generator=generator) * 20 - 20
    classes = torch.randn(2, 7, 5, generator=generator)
    found = MaskScores.from_logits(classes, masks, (6, 8)).log_scores()
    shares = classes.double().softmax(dim=-1)[..., :-1]
    expected = torch.einsum("bqc,bqhw->bchw", shares, masks.double().sigmoid()).log()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_logarithm_of_no_score_is_finite() -> None:
    masks, classes = torch.full((1, 3, 2, 2), -500.0), torch.zeros(1, 3, 4)
    found = MaskScores.from_logits(classes, masks, (2, 2)).log_scores()
    torch.testing.assert_close(found, torch.full_like(found, math.log(LEAST_SCORE)))
