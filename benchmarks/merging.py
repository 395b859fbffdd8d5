"""What merging tokens gains, and what it costs, threshold by threshold: one Markdown table.

    python benchmarks/merging.py street data/camvid
    python benchmarks/merging.py MODEL data/camvid --photos 50 --thresholds 0.95 0.8 --device cuda

How many tokens are merged depends on the image, so the images of the test split that are scored are
those that are timed: each is labelled by all settings in turn, `--rounds` times. Seconds are those
from an image to its labels; the median over images counts, and the median of their own ratios.
Tokens are those that go into the last block, as a share of those that go into the first. The last
row is what `--runtime auto` takes without merging, where that is not torch.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor

from segmenter.data.folder import open_folder, read_sample
from segmenter.evaluation.evaluate import score_all
from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.inference import Predictor

PLAIN = "none"


def main() -> None:
    """Label the images with every setting, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a bundled name or a model file")
    parser.add_argument("data", type=Path, help="a data set with images in test")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.95, 0.9, 0.8, 0.7])
    parser.add_argument("--photos", type=int, help="test images, evenly spread; all if not given")
    parser.add_argument("--rounds", type=int, default=1, help="how often each image is labelled")
    parser.add_argument("--precision", default="float32", help="arithmetic in torch")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    options = {"precision": given.precision, "device": given.device}
    plain = Predictor(given.model, runtime="torch", **options)
    predictors = {PLAIN: plain}
    for threshold in given.thresholds:
        predictors[str(threshold)] = Predictor(plain.model, merge_threshold=threshold, **options)
    auto = Predictor(given.model, device=given.device)
    if auto.runtime.name != "torch":
        predictors[f"{PLAIN}, {auto.runtime.name} {auto.runtime.precision}"] = auto

    blocks = plain.model.encoder.blocks
    lengths: list[int] = []
    for block in (blocks[0], blocks[-1]):
        block.register_forward_pre_hook(lambda _, tokens: lengths.append(num_tokens(*tokens)))
    folder = open_folder(given.data)
    classes, test = folder.classes, folder.items("test")
    count = min(given.photos or len(test), len(test))
    matrices = {name: ConfusionMatrix(len(classes), classes.ignore_index) for name in predictors}
    seconds: dict[str, list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for number in range(count):
        sample = read_sample(test[number * len(test) // count], classes)
        if number == 0:
            for predictor in predictors.values():
                predictor(sample.image)  # what is compiled or allocated once
        taken: dict[str, list[float]] = defaultdict(list)
        for turn in range(given.rounds):
            for name, predictor in predictors.items():
                lengths.clear()
                start = time.perf_counter()
                labels = predictor(sample.image)
                taken[name].append(time.perf_counter() - start)
                if turn == 0:
                    matrices[name].add(sample.labels, labels)
                    shares[name].append(sum(lengths[1::2]) / sum(lengths[::2]) if lengths else 1)
        for name, of_image in taken.items():
            seconds[name].append(median(of_image))
        print(f"\r{number + 1} of {count}", end="", file=sys.stderr)
    print(file=sys.stderr)

    print(f"{given.model}, {plain.runtime.describe()}, {torch.get_num_threads()} threads; ", end="")
    print(f"{count} test images, {given.rounds} rounds\n")
    print("| merged above | tokens left | mIoU | images/s | times as fast |")
    print("|---|---|---|---|---|")
    for name, predictor in predictors.items():
        miou = score_all(matrices[name], classes, predictor.protocol).miou or 0.0
        ratios = [one / other for one, other in zip(seconds[PLAIN], seconds[name], strict=True)]
        print(
            f"| {name} | {100 * mean(shares[name]):.0f} % | {miou:.4f} | "
            f"{1 / median(seconds[name]):.2f} | {median(ratios):.2f} |"
        )


def num_tokens(tokens: Tensor, *_: object) -> int:
    """How many go into a block."""
    return tokens.shape[0] * tokens.shape[1]


if __name__ == "__main__":
    main()
