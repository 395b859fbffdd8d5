"""Arguments of `segmenter predict`."""

from pathlib import Path
from typing import Literal

from segmenter.commands.values import DONE, PARTLY_DONE, Decode, Precision, RuntimeName
from segmenter.data.published import Benchmark


def predict(
    *images: str,
    model: str = "street",
    out: Path = Path("predictions"),
    save: str | None = None,
    opacity: float = 0.5,
    ids: Literal["index", "source"] = "index",
    gallery: bool = False,
    submission: Benchmark | None = None,
    video: Literal["overlay", "labels"] = "overlay",
    fps: float = 25.0,
    camera_format: Literal["v4l2", "matroska", "mpegts", "mjpeg"] | None = None,
    shards: int | None = None,
    shard: int | None = None,
    flip: bool | None = None,
    decode: Decode = "argmax",
    merge_tokens: float | None = None,
    device: str = "cpu",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    image_bits: int | None = None,
    overwrite: bool = False,
) -> int:
    """Label every pixel of images and videos: overlays, colour maps, and the raw labels.

    Args:
        images: Images, folders of images, or patterns such as `photos/**/*.jpg`; videos, image
            sequences, and cameras such as `/dev/video0`.
        model: A bundled name, a model file, hf:owner/name, or an exported one.
        out: Folder for the results.
        save: What to write, with commas between: overlay, color, label (these three unless told),
            probabilities, margins, labelme, coco, coco-polygons, cvat, label-studio.
        opacity: How strongly the colours lie over the image: 0 none, 1 full.
        ids: What the raw label map holds: class indices, or the mask values of `classes.yaml`.
        gallery: Also write `index.html`, a page with all images and overlays.
        submission: Write one PNG an image with the ids of this benchmark's server and nothing else.
        video: What to write for a video: a video of overlays, or the raw labels of each frame.
        fps: Frames a second of an image sequence, such as `shots/frame-%04d.png`.
        camera_format: What a device or pipe delivers; none: v4l2 of a device such as /dev/video0,
            a container as of files from a pipe.
        shards: For large batches: cut the images into this many parts, by their names, and keep a
            record of what is done, so that the same command goes on where it was stopped.
        shard: Do this part alone, from 1; other processes or machines do the others.
        flip: Average with the mirrored image.
        decode: Labels to give: the most probable class at each pixel, or those expected to have the
            highest mean IoU or Dice over the classes of an image.
        merge_tokens: Merge tokens whose cosine is above this, such as 0.8: faster in torch, which
            auto then takes, for labels that are nearly the same; at 1 none are merged.
        device: Where to compute.
        runtime: What computes; auto: the fastest that is installed.
        precision: Arithmetic; float32 has the published numerics, bfloat16 is faster where the
            processor has it, auto takes it there.
        image_bits: Bits a sample of images with more than 8, such as 12, where white is 4095; none:
            as the model was trained, or the fewest that hold the largest value of each image.
        overwrite: Replace files in the folder that an earlier run did not write.
    """
    options = {
        "save": save,
        "opacity": opacity,
        "ids": ids,
        "flip": flip,
        "decode": decode,
        "merge_tokens": merge_tokens,
        "device": device,
        "runtime": runtime,
        "precision": precision,
        "image_bits": image_bits,
        "overwrite": overwrite,
    }
    if shards is not None or shard is not None:
        from segmenter.predicting.predict_parts import run_shards

        one_page = gallery or submission is not None
        for_videos = (video, fps, camera_format) != ("overlay", 25.0, None)
        failed = run_shards(
            images,
            model,
            out,
            num_shards=shards,
            shard=shard,
            one_page=one_page,
            for_videos=for_videos,
            **options,
        )
    else:
        from segmenter.predicting.predict_all import run_prediction

        failed = run_prediction(
            images,
            model,
            out,
            gallery=gallery,
            submission=submission,
            video=video,
            fps=fps,
            camera_format=camera_format,
            **options,
        )
    return PARTLY_DONE if failed else DONE
