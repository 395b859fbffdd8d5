"""`segmenter suggest` against a random order: how many images must be labelled for the same mIoU.

    python benchmarks/suggest.py data/camvid --short-side 560 --every 8 --out results/suggest.json

Each draw has a pool of random training images, of which a few are labelled at first. Again and
again, the next images are labelled: those that `suggest` lists for the fit so far, or the next ones
of a random order. Both orders share pool and first images. Each fit is scored on the test images,
as `segmenter evaluate` does. A draw that is in the file already is not repeated.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cached_fits import CachedFits
from results_file import load, save

from segmenter.data.folder import Item, open_folder
from segmenter.extras.suggesting.order import choose_order
from segmenter.fitting.classifier import Classifier

_PICTURE = (90, 120)
"""Height and width at which the confidence of an image is averaged."""


def main() -> None:
    """Run the draws that are not in the file, and compare the orders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with the splits train and test")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--pool", type=int, default=100, help="images of a draw")
    parser.add_argument("--first", type=int, default=2, help="images labelled at first")
    parser.add_argument("--step", type=int, default=4, help="images labelled between two fits")
    parser.add_argument("--most", type=int, default=30, help="images labelled in the end")
    parser.add_argument("--short-side", type=int, help="chosen from the data if omitted")
    parser.add_argument("--every", type=int, default=1, help="score on every so many test images")
    parser.add_argument("--tokens", type=Path, default=Path("build/tokens"), help="folder for them")
    parser.add_argument("--out", type=Path, default=Path("suggest.json"))
    given = parser.parse_args()
    data = open_folder(given.data)
    train, test = list(data.items("train")), list(data.items("test"))[:: given.every]
    fits = CachedFits(
        given.data, given.tokens / f"{given.data.name}-{given.short_side}-1", given.short_side
    )
    curves = load(given.out, {}).get("curves", [])
    for draw in range(len(curves), given.draws):
        rng = np.random.default_rng(draw)
        pool = [train[place] for place in rng.permutation(len(train))[: given.pool]]
        curves.append({order: curve(fits, pool, test, given, order) for order in ORDERS})
        save(
            given.out,
            {"curves": curves, **summary(curves)},
            "tokens and fit in the precision of `segmenter fit` on this machine",
        )
        print(draw, curves[-1], flush=True)


def curve(
    fits: CachedFits,
    pool: Sequence[Item],
    test: Sequence[Item],
    given: argparse.Namespace,
    order: str,
) -> list[dict[str, float]]:
    """Return the mIoU after each fit, for images that are labelled in one order."""
    labelled, left, found = list(pool[: given.first]), list(pool[given.first :]), []
    while True:
        classifier = fits.fit(labelled).fits.whole
        miou = fits.evaluate(test, classifier).miou
        assert miou is not None
        found.append({"images": len(labelled), "miou": round(miou, 4)})
        count = min(given.step, given.most - len(labelled))
        if count < 1:
            return found
        chosen = ORDERS[order](fits, labelled, left, classifier, count)
        labelled += [left[place] for place in chosen]
        left = [item for place, item in enumerate(left) if place not in set(chosen)]


def suggested(
    fits: CachedFits,
    labelled: Sequence[Item],
    left: Sequence[Item],
    classifier: Classifier,
    count: int,
) -> list[int]:
    """Return the places of the images that `suggest` lists first."""
    doubts = np.array([1 - fits.confidence(item, classifier, _PICTURE) for item in left])
    new, known = (np.array([fits.mean_token(each) for each in items]) for items in (left, labelled))
    return [each.index for each in choose_order(doubts, new, known, count)]


def in_pool_order(
    fits: CachedFits,  # noqa: ARG001
    labelled: Sequence[Item],  # noqa: ARG001
    left: Sequence[Item],  # noqa: ARG001
    classifier: Classifier,  # noqa: ARG001
    count: int,
) -> list[int]:
    """Return the first places: the pool is in a random order."""
    return list(range(count))


ORDERS = {"suggest": suggested, "random": in_pool_order}


def summary(curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread of the draws, and the images that the same mIoU takes."""
    counts = [each["images"] for each in curves[0]["random"]]
    mious = {
        order: np.array([[each["miou"] for each in draw[order]] for draw in curves])
        for order in ORDERS
    }
    points = [
        {
            "images": count,
            **{order: round(float(mious[order][:, place].mean()), 4) for order in ORDERS},
            **{f"{order}_low": float(mious[order][:, place].min()) for order in ORDERS},
            **{f"{order}_high": float(mious[order][:, place].max()) for order in ORDERS},
            "same": _needed(
                counts, mious["suggest"].mean(axis=0), mious["random"][:, place].mean()
            ),
            "better_draws": int((mious["suggest"] > mious["random"])[:, place].sum()),
        }
        for place, count in enumerate(counts)
    ]
    return {"draws": len(curves), "points": points}


def _needed(counts: Sequence[int], curve: np.ndarray, aim: float) -> float | None:
    """Return after how many images a mean curve first reaches an mIoU, between two fits linear."""
    reached = np.flatnonzero(curve >= aim)
    if not len(reached):
        return None
    place = int(reached[0])
    if place == 0:
        return float(counts[0])
    share = (aim - curve[place - 1]) / (curve[place] - curve[place - 1])
    return round(float(counts[place - 1] + share * (counts[place] - counts[place - 1])), 1)


if __name__ == "__main__":
    main()
