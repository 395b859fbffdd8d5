"""Label rules: the labels of an image with the highest expected mean IoU or Dice.

The most probable class at each pixel maximises the expected share of right pixels, and no other
score. IoU and Dice of a class depend on all pixels at once: where a class is small or in doubt, it
can pay to label more pixels with it, or fewer, than it is the most probable at (Dai and Li,
"RankSEG", JMLR 24, 2023).

Taking pixels as independent, a class of probability p at each pixel has mu = sum(p) true pixels in
expectation; labelled at n pixels it is right at s = sum(p over these). What is maximised is the
sum over classes of

    IoU:  s / (n + mu - s)        Dice:  2 s / (n + mu)

the ratios of expectations. They differ from the expected score, which needs the distribution of
the number of true pixels, by about one part in the number of pixels concerned (Wang and Dai,
"RankSEG-RMA", NeurIPS 2025). Dai and Li choose the best pixels for each class alone, so that
classes overlap and leave gaps. Here each pixel has one label throughout: beginning with the most
probable classes, each pixel is given the class whose term it raises most, by the terms'
derivatives, for as long as the sum rises. So the sum is never below that of the most probable
classes. For one class against a background this is Dinkelbach's method, which finds the highest
there is; for more classes it need not be the highest.

Classes that are the most probable one nowhere are left out: every class gains by a pixel, so each
would claim its likeliest, and an absent class that is predicted is a mistake that the sum does not
count.
"""

from typing import get_args

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from segmenter.options import LabelRule

LABEL_RULES: tuple[LabelRule, ...] = get_args(LabelRule)

_MAX_ROUNDS = 30
_MIN_RISE = 1e-6


def decode_probabilities(
    probabilities: Float[ndarray, "classes height width"],
    label_rule: LabelRule,
    background_index: int | None = None,
) -> Int64[ndarray, "height width"]:
    """Label the pixels of one image by a label rule.

    Args:
        probabilities: Probability of each class at each pixel; they sum to 1.
        label_rule: The score to maximise, or `argmax`.
        background_index: Index that is not a class, so that its score does not count. None: none.
    """
    labels = probabilities.argmax(axis=0)
    if label_rule == "argmax" or labels.size == 0:
        return labels
    classes = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(probabilities)))
    likely = probabilities[classes].reshape(len(classes), -1)
    is_counted = classes != (-1 if background_index is None else background_index)
    num_expected = likely.sum(axis=1, dtype=np.float64)
    chosen, best = np.searchsorted(classes, labels.ravel()), -1.0
    for _ in range(_MAX_ROUNDS):
        num_chosen = np.bincount(chosen, minlength=len(classes))
        picked = likely[chosen, np.arange(chosen.size)]
        num_right = np.bincount(chosen, weights=picked, minlength=len(classes))
        total = num_chosen + num_expected
        union = total - num_right if label_rule == "iou" else total / 2
        value = float((num_right / union)[is_counted].sum())
        if value < best + _MIN_RISE:
            break
        labels, best = classes[chosen].reshape(labels.shape), value
        # What a pixel of probability p adds to a class's term: (p total - num_right) / union^2,
        # for Dice but for a factor that is the same for all classes.
        slope, start = (each * is_counted / union**2 for each in (total, num_right))
        gains = likely * slope[:, None].astype(likely.dtype)
        gains -= start[:, None].astype(likely.dtype)
        chosen = gains.argmax(axis=0)
    return labels
