"""Label a folder of large images as `segmenter predict` does, and say what the processors did.

    python benchmarks/predict.py [--photos 100] [--save overlay,label] [--one-after-other]

The images are those of `examples/`, enlarged to 12 megapixels, with some noise so that their files
have a camera's size. Printed: how busy the processors were from the first to the last image, the
wall time over all stages' processor time divided by the processors, and the share of each stage.
`--one-after-other` labels the same images without overlap, for comparison. A machine that does
other things meanwhile shows fewer busy processors.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from segmenter.data.decoding.decode import decode_image
from segmenter.data.pairing.find_images import find_images
from segmenter.drawing import class_shares
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.label_files.image_outputs import ImageOutputs, PredictedImage, parse_save
from segmenter.predicting.images import predict_files
from segmenter.predicting.profiling import StageClock, Usage, num_cpus

EXAMPLES = Path(__file__).parents[1] / "examples"
NOISE = 6.0  # standard deviation; makes JPEGs of 3 to 6 MB


def make_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write `count` images of (height, width), all different."""
    folder.mkdir()
    height, width = size
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, (height, width, 3)).astype(np.float32)
    sources = [decode_image(path) for path in sorted(EXAMPLES.glob("*.jpg"))]
    for number in range(count):
        source = sources[number % len(sources)]
        large = cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC)
        shifted = np.roll(noise, int(rng.integers(height)), axis=0)
        image = np.clip(large + shifted, 0, 255).astype(np.uint8)
        encoded = simplejpeg.encode_jpeg(image, 92, "RGB", "420")
        (folder / f"photo-{number:04}.jpg").write_bytes(encoded)


def one_after_other(
    predictor: Predictor, images: list[tuple[Path, str]], outputs: ImageOutputs
) -> Usage:
    """The same work without overlap."""
    folder, clock = OutputFolder(outputs.root), StageClock()
    for path, name in images:
        with clock.measure("decode"):
            image = decode_image(path)
        start, model_start = time.perf_counter(), predictor.model_seconds
        labels = predictor(image)
        clock.add_labelling(time.perf_counter() - start, predictor.model_seconds - model_start)
        with clock.measure("draw"):
            shares = class_shares(labels, len(predictor.classes))
            predicted = PredictedImage(path, name, image, found={"labels": labels}, shares=shares)
            files = outputs.draw(predicted)
        with clock.measure("write"):
            for each, encode in files.items():
                folder.write(each, encode())
    return clock.usage()


def main() -> None:
    """Make the images, label them, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--size", default="3000x4000", help="HEIGHTxWIDTH")
    parser.add_argument("--model", default="street")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--save", default="overlay,label")
    parser.add_argument("--one-after-other", action="store_true")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    cv2.setNumThreads(1)  # as the command does
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_images(root / "photos", given.photos, (height, width))
        images = find_images([str(root / "photos")])
        mean_size = np.mean([path.stat().st_size for path, _ in images]) / 1e6
        print(f"{len(images)} images of {height} x {width}, {mean_size:.1f} MB each")
        predictor = Predictor(given.model, runtime=given.runtime)
        predictor(decode_image(images[0][0]))  # compiles
        print(f"runtime: {predictor.runtime.describe()}")
        outputs = ImageOutputs(predictor.classes, root / "out", parse_save(given.save))
        if given.one_after_other:
            used = one_after_other(predictor, images, outputs)
        else:
            clock = StageClock()
            for _ in predict_files(predictor, images, OutputFolder(root / "out"), outputs, clock):
                pass
            used = clock.usage()
    cpu_seconds = used.num_busy * used.seconds
    print(
        f"{used.seconds:.1f} s, {len(images) / used.seconds:.2f} images a second\n"
        f"{100 * used.num_busy / num_cpus():.0f} % of {num_cpus()} processors busy\n"
        f"wall time / (processor time / processors): "
        f"{used.seconds * num_cpus() / cpu_seconds:.2f}\n"
        + ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in used.shares.items())
        + f"\n{cpu_seconds / len(images):.2f} processor seconds an image"
    )


if __name__ == "__main__":
    main()
