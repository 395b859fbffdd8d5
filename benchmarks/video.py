"""Frames a second of a video, against the model alone at frames of that size.

    python benchmarks/video.py VIDEO [--model street] [--frames 60] [--rounds 3] [--device cpu]

The model alone is what `segmenter benchmark` reports: from an image array to its labels, and
nothing else. The others are what `segmenter predict VIDEO` does: decoding, model, drawing, writing.
All are taken in each round, on the first frames of the video; medians count. The seconds that the
processor works on a frame are printed too: other programs disturb them less than the clock.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from segmenter.data.video.frames import Frame, VideoFile
from segmenter.extras.benchmarking.speed import colored_blocks, measure
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.model import EvaluationProtocol
from segmenter.predicting.video import label_video


@dataclass(frozen=True)
class Beginning(VideoFile):
    """The first frames of a video."""

    num_frames: int = 60

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """As of the whole video."""
        return islice(super().frames(stopped), self.num_frames)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="street")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    predictor = Predictor(
        given.model,
        protocol=EvaluationProtocol(
            name="benchmark"
        ),  # frames go in whole, as in `segmenter benchmark`
        device=given.device,
        runtime=given.runtime,
        precision=given.precision,
    )
    video = Beginning(given.video, "video", given.frames)
    pictures = [frame.pixels for frame in islice(video.frames(lambda: False), 8)]
    height, width = pictures[0].shape[:2]
    print(f"{given.video}: {given.frames} frames of {height} x {width}")
    print(f"{given.model}, {predictor.runtime.describe()}")
    rates: dict[str, list[float]] = {"model alone": [], "overlay": [], "labels": []}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(given.rounds):
        found = measure(predictor, colored_blocks((height, width)), rounds=9)
        rates["model alone"].append(found["images_per_second"])
        start = time.process_time()
        for picture in pictures:
            predictor(picture)
        cpu_seconds["model alone"].append((time.process_time() - start) / len(pictures))
        for output in ("overlay", "labels"):
            with tempfile.TemporaryDirectory() as folder:
                start = time.process_time()
                result = label_video(predictor, video, OutputFolder(Path(folder)), output=output)
                cpu_seconds[output].append((time.process_time() - start) / result.num_frames)
                rates[output].append(result.num_frames / result.seconds)
    print(f"{'':12} {'a second':>9} {'ratio':>6} {'CPU s a frame':>14} {'ratio':>6}")
    for name in rates:
        rate, cpu = median(rates[name]), median(cpu_seconds[name])
        print(
            f"{name:12} {rate:9.2f} {rate / median(rates['model alone']):6.2f} "
            f"{cpu:14.3f} {cpu / median(cpu_seconds['model alone']):6.2f}"
        )


if __name__ == "__main__":
    main()
