"""A video in: as many overlays or label maps out, at the same times."""

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image
from segmenter.data.video.frames import Frame, VideoFile, VideoTiming
from segmenter.data.video.image_sequence import find_sequence
from segmenter.drawing import overlay
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.options import ImageOutput, VideoOptions
from segmenter.predicting import video_files
from segmenter.predicting.images import Result
from segmenter.predicting.predict_videos import label_videos
from segmenter.predicting.video import label_video
from tests.helpers.models import decided, make_spec
from tests.helpers.paths import SHARED
from tests.helpers.skips import NOT_HERE
from tests.helpers.video_files import (
    ENCODERS,
    VFR,
    av,
    cut,
    make_picture,
    read_pictures,
    read_times,
    set_display_matrix,
    write_sound,
    write_video,
)
from tests.helpers.waiting import wait_until


def make_predictor(**spec: object) -> Predictor:
    """Always the same."""
    torch.manual_seed(0)
    model = decided(Segmenter(make_spec(depth=1).model_copy(update=spec)))
    return Predictor(model)


def label(path: Path, **options: Any) -> Result:
    video = VideoFile(path, path.stem)
    folder = OutputFolder(path.parent / "out")
    return label_video(make_predictor(), video, folder, **options)


def written(path: Path) -> set[str]:
    return {file.name for file in (path / "out").rglob("*") if file.name[0] != "."}


@pytest.mark.parametrize("suffix", ENCODERS)
def test_each_frame_has_an_overlay_at_its_time(tmp_path: Path, suffix) -> None:
    path = write_video(tmp_path / f"video{suffix}")
    result = label(path)
    assert (result.problem, result.num_frames) == (None, 12)
    overlays = tmp_path / "out" / "video_overlay.mp4"
    np.testing.assert_allclose(read_times(overlays), read_times(path), atol=1e-6)
    predictor = make_predictor()
    for picture, drawn in zip(read_pictures(path), read_pictures(overlays), strict=True):
        expected = overlay(picture, predictor(picture), predictor.classes.colors)
        assert np.abs(drawn.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("times", "tick"),
    [
        (VFR, Fraction(1, 1000)),
        ([90_000 + time for time in VFR], Fraction(1, 1000)),
        ([time * 33 for time in VFR], Fraction(1, 30_000)),
        ([0, 1, 2, 3], Fraction(1001, 24_000)),
        ([0, 1, 2, 3], Fraction(60)),
    ],
)
def test_uneven_times_are_kept(tmp_path: Path, suffix, times, tick) -> None:
    path = write_video(tmp_path / f"video{suffix}", times=times, tick=tick)
    assert label(path).num_frames == len(times)
    found = read_times(tmp_path / "out" / "video_overlay.mp4")
    np.testing.assert_allclose(found, read_times(path), rtol=0, atol=1e-4)


def test_frames_of_the_same_time_are_all_written(tmp_path: Path) -> None:
    timing = VideoTiming(Fraction(1, 25), Fraction(25))
    times = [Fraction(-1, 5), Fraction(-1, 5), Fraction(-1, 5), Fraction(-1, 10), Fraction(-3, 20)]
    first = Frame(make_picture(0), times[0], timing)
    with video_files.overlay_video(tmp_path / "video.mp4", first) as video:
        for each in times:
            video.write(make_picture(0), each)
    found = read_times(tmp_path / "video.mp4")  # from zero on
    np.testing.assert_allclose(found, [0, 1e-4, 2e-4, 0.1, 0.1001], atol=1e-6)


def test_label_frames_are_the_labels_and_their_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", times=VFR, tick=Fraction(1, 1000))
    result = label(path, output="labels")
    folder = tmp_path / "out" / "video_labels"
    lines = (folder / "frames.csv").read_text().splitlines()
    assert lines[0] == "file,seconds"
    assert [float(line.split(",")[1]) * 1000 for line in lines[1:]] == VFR
    predictor = make_predictor()
    counts = np.zeros(3)
    for line, picture in zip(lines[1:], read_pictures(path), strict=True):
        labels = np.array(Image.open(folder / line.split(",")[0]))
        np.testing.assert_array_equal(labels, predictor(picture))
        counts += np.bincount(labels.ravel(), minlength=3)
    np.testing.assert_allclose(result.shares, counts / counts.sum())


def test_label_frames_may_hold_the_values_of_the_data_set(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", 2)
    given = make_predictor().classes.model_dump()
    for index, each in enumerate(given["classes"]):
        each["values"] = [7 * index + 3]
    predictor = make_predictor(classes=Classes.model_validate(given))
    video, folder = VideoFile(path, "video"), OutputFolder(tmp_path / "out")
    label_video(predictor, video, folder, output="labels", ids="source")
    labels = np.array(Image.open(tmp_path / "out/video_labels/000002.png"))
    assert set(np.unique(labels)) <= {3, 10, 17}


def test_a_legend_is_drawn_beside_the_first_frame(tmp_path: Path) -> None:
    label(write_video(tmp_path / "video.mp4", size=(96, 160)))
    height, width = np.array(Image.open(tmp_path / "out/video_legend.jpg")).shape[:2]
    assert width >= 160
    assert height > 96


def test_the_overlay_is_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", pixel_aspect=Fraction(16, 11))
    set_display_matrix(path, 0, 1, -1, 0)
    label(path)
    with av.open(str(tmp_path / "out/video_overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (64, 48)
        assert stream.sample_aspect_ratio == Fraction(11, 16)
        assert next(container.decode(stream)).rotation == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (15, 15), (33, 47)])
def test_frames_of_any_size(tmp_path: Path, size) -> None:
    for index in range(3):
        Image.fromarray(make_picture(index, size)).save(tmp_path / f"shot-{index}.png")
    sequence = find_sequence(str(tmp_path / "shot-%d.png"), 10.0)
    for output in ("overlay", "labels"):
        folder = OutputFolder(tmp_path / "out")
        result = label_video(make_predictor(), sequence, folder, output=output)
        assert (result.problem, result.num_frames) == (None, 3)
    pictures = read_pictures(tmp_path / "out/shot_overlay.mp4")
    assert pictures[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.array(Image.open(tmp_path / "out/shot_labels/000003.png")).shape == size
    np.testing.assert_allclose(read_times(tmp_path / "out/shot_overlay.mp4"), [0, 0.1, 0.2])


def test_deep_frames_have_the_labels_of_these_images(tmp_path: Path) -> None:
    for index in range(2):
        dark = make_picture(index)[:, :, 0].astype(np.uint16) << 2
        Image.fromarray(dark).save(tmp_path / f"shot-{index}.png")
    predictor = make_predictor()
    predictor.image_bits = 12  # as `--image-bits`, or the images that the model was trained on
    given = [find_sequence(str(tmp_path / "shot-%d.png"), 25.0)]
    options = VideoOptions(video="labels")
    folder = OutputFolder(tmp_path / "out")
    (result,) = label_videos(predictor, given, folder, options, ImageOutput(out=folder.root))
    assert result.problem is None
    for index in range(2):
        found = np.array(Image.open(tmp_path / f"out/shot_labels/{index + 1:06}.png"))
        assert np.array_equal(
            found, predictor(decode_image(tmp_path / f"shot-{index}.png", image_bits=12))
        )


def test_frames_of_another_size_are_fitted_into_the_overlay(tmp_path: Path) -> None:
    for index, size in enumerate([(48, 64), (96, 128), (20, 30)]):
        Image.fromarray(make_picture(index, size)).save(tmp_path / f"{index}.png")
    sequence = find_sequence(str(tmp_path / "%d.png"), 25.0)
    assert sequence.name == tmp_path.name
    folder = OutputFolder(tmp_path / "out")
    assert label_video(make_predictor(), sequence, folder).num_frames == 3
    pictures = read_pictures(tmp_path / "out" / f"{tmp_path.name}_overlay.mp4")
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 3


def test_colours_survive(tmp_path: Path) -> None:
    for index, color in enumerate([(200, 30, 40), (30, 180, 60), (20, 60, 220)]):
        Image.new("RGB", (64, 48), color).save(tmp_path / f"{index}.png")
    sequence = find_sequence(str(tmp_path / "%d.png"), 25.0)
    label_video(make_predictor(), sequence, OutputFolder(tmp_path / "out"), opacity=0.0)
    pictures = read_pictures(tmp_path / "out" / f"{sequence.name}_overlay.mp4")
    found = [picture[10, 10].tolist() for picture in pictures]
    np.testing.assert_allclose(found, [(200, 30, 40), (30, 180, 60), (20, 60, 220)], atol=4)


@pytest.mark.parametrize("output", ["overlay", "labels"])
def test_of_a_cut_video_what_was_done_is_kept(tmp_path: Path, output) -> None:
    path = cut(write_video(tmp_path / "video.mp4", 50, movflags="faststart"), 0.7)
    result = label(path, output=output)
    assert "ends early, after" in str(result.problem)
    assert 20 < result.num_frames < 50
    if output == "overlay":
        assert len(read_times(result.outputs[0])) == result.num_frames
    else:
        num_lines = len(result.outputs[0].read_text().splitlines())
        assert num_lines == result.num_frames + 1 == len(written(tmp_path)) - 1


def test_of_a_stopped_video_what_was_done_is_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 200)
    done = threading.Event()
    result = label(path, stopped=done.is_set, progress=lambda count: count == 5 and done.set())
    assert "stopped by a signal" in str(result.problem)
    assert 5 <= result.num_frames < 30
    assert len(read_times(result.outputs[0])) == result.num_frames


@pytest.mark.parametrize("write", [write_sound, Path.touch, write_video], ids=lambda w: w.__name__)
def test_without_a_frame_nothing_is_written(tmp_path: Path, write) -> None:
    path = tmp_path / "video.mp4"
    if write is write_video:
        cut(write_video(path), 0.4)
    else:
        write(path)
    result = label(path)
    assert result.problem is not None
    assert "video.mp4" in result.problem
    assert (result.outputs, result.num_frames) == ((), 0)
    assert not (tmp_path / "out").exists()


def test_a_video_without_frames_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "video.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.encode(av.VideoFrame(64, 48, "yuv420p"))  # opens the encoder
        container.start_encoding()
    assert "video.mkv" in str(label(tmp_path / "video.mkv").problem)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_failed_write_leaves_no_half_video_and_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step
) -> None:
    path = write_video(tmp_path / "video.mp4", 50)

    def full(*_: object) -> None:
        raise av.error.InvalidDataError(28, "No space left on device")

    monkeypatch.setattr(video_files.OverlayVideo, step, full)
    before = threading.active_count()
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        label(path)
    assert [file for file in (tmp_path / "out").iterdir() if file.is_file()] == []
    wait_until(lambda: threading.active_count() <= before)


def test_frames_of_one_size_can_go_through_the_model_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "video.mp4", 20)
    alone = label(path, output="labels")
    sizes = []

    def counting(self: Predictor, images: list[np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(images))
        return call(self, images)

    call = Predictor.__call__
    predictor = make_predictor()
    monkeypatch.setattr(predictor, "device", torch.device("meta"))  # as if it were a GPU
    monkeypatch.setattr(Predictor, "__call__", counting)
    together = label_video(
        predictor, VideoFile(path, "together"), OutputFolder(tmp_path / "out"), output="labels"
    )
    assert sizes == [8, 8, 4]
    np.testing.assert_allclose(alone.shares, together.shares)


@pytest.mark.slow
def test_a_real_video_keeps_its_350_frames(tmp_path: Path) -> None:
    path = SHARED / "data/photos/traffic.mp4"
    if not path.exists():
        pytest.skip(f"{NOT_HERE}: {path}")
    folder = OutputFolder(tmp_path / "out")
    result = label_video(make_predictor(), VideoFile(path, "traffic"), folder)
    assert (result.problem, result.num_frames) == (None, 350)
    np.testing.assert_allclose(read_times(result.outputs[0]), read_times(path), atol=1e-4)
