"""Draws of the model are functions of seed and position, whatever the batch."""

import torch

from segmenter.training.randomness import draw_drop_path_scales, seed_dropout

RATES = [0.0, 0.1, 0.5]


def test_an_images_draw_does_not_depend_on_its_batch() -> None:
    whole = draw_drop_path_scales(RATES, 7, torch.arange(100))
    parts = [draw_drop_path_scales(RATES, 7, part) for part in torch.arange(100).split(30)]
    assert torch.equal(whole, torch.cat(parts, dim=1))


def test_other_seeds_and_positions_draw_otherwise() -> None:
    first = draw_drop_path_scales(RATES, 7, torch.arange(100))
    assert not torch.equal(first, draw_drop_path_scales(RATES, 8, torch.arange(100)))
    assert not torch.equal(first, draw_drop_path_scales(RATES, 7, torch.arange(100, 200)))


def test_branches_are_dropped_at_their_rate_and_kept_ones_are_scaled_up() -> None:
    scales = draw_drop_path_scales(RATES, 0, torch.arange(4000))
    assert torch.equal(scales[0], torch.ones(4000))
    dropped = (scales == 0).float().mean(dim=1)
    torch.testing.assert_close(dropped, torch.tensor(RATES), atol=0.03, rtol=0)
    torch.testing.assert_close(scales.mean(dim=1), torch.ones(3), atol=0.06, rtol=0)


def test_without_rates_nothing_is_drawn() -> None:
    assert draw_drop_path_scales([0.0, 0.0], 0, torch.arange(3)) is None


def test_dropout_is_a_function_of_seed_and_place() -> None:
    draws = []
    for place in (5, 6, 5):
        seed_dropout(1, place)
        draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
