"""Videos and cameras through the command line: what is kept, and the exit status."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter import commands
from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.predicting import predict_videos
from tests.helpers.models import make_spec
from tests.helpers.skips import NOT_HERE
from tests.helpers.video_files import (
    av,
    cut,
    make_picture,
    read_times,
    write_sound,
    write_video,
)
from tests.helpers.waiting import wait_until


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec(depth=1)).eval(), tmp_path / "model.safetensors")
    return tmp_path


def run(*arguments: str) -> int:
    given = ["predict", *arguments, "--model", "model.safetensors", "--runtime", "torch"]
    with pytest.raises(SystemExit) as ended:
        commands.main(given)
    return int(ended.value.code or 0)


def test_a_video_beside_a_image(here, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(here / "clip.mp4")
    Image.fromarray(make_picture(0)).save(here / "photo.png")
    assert run("clip.mp4", "photo.png") == 0
    assert {path.name for path in (here / "predictions").glob("[!.]*")} == {
        "clip_overlay.mp4",
        "clip_legend.jpg",
        "photo_overlay.jpg",
        "photo_label.png",
    }
    assert "[2/2] clip.mp4: 12 frames, " in capsys.readouterr().out
    assert run("clip.mp4", "photo.png") == 0  # ours may be replaced
    (here / "predictions/clip_overlay.mp4").write_bytes(b"mine")
    assert run("clip.mp4", "photo.png") == 2
    assert "clip_overlay.mp4 exists" in capsys.readouterr().err


def test_a_sequence_and_a_pattern_of_videos(here) -> None:
    for number in range(1, 4):
        Image.fromarray(make_picture(number)).save(here / f"shot-{number:04d}.png")
    write_video(here / "a.mkv", 2)
    write_video(here / "b.mkv", 3)
    assert run("shot-%04d.png", "*.mkv", "--fps", "12.5", "--video", "labels") == 0
    folder = here / "predictions"
    lines = (folder / "shot_labels/frames.csv").read_text().splitlines()
    assert lines[1:] == ["000001.png,0.000000", "000002.png,0.080000", "000003.png,0.160000"]
    assert len(list((folder / "b_labels").glob("*.png"))) == 3


@pytest.mark.parametrize("kind", ["garbage", "sound", "cut", "gone"])
def test_a_video_that_cannot_be_read_is_one_line(
    here, capsys: pytest.CaptureFixture[str], kind
) -> None:
    path = here / "bad.mp4"
    if kind == "garbage":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "sound":
        write_sound(path)
    elif kind == "cut":
        cut(write_video(path), 0.5)
    assert run("bad.mp4") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bad.mp4" in error
    if kind != "gone":
        assert run("bad.mp4", str(write_video(here / "good.mp4"))) == 3
        assert len(read_times(here / "predictions/good_overlay.mp4")) == 12


def test_a_video_that_ends_early_is_kept_and_status_3(
    here, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(write_video(here / "clip.mp4", 50, movflags="faststart"), 0.7)
    assert run("clip.mp4") == 3
    assert "clip.mp4 ends early, after" in capsys.readouterr().err
    assert len(read_times(here / "predictions/clip_overlay.mp4")) > 20


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--gallery"], "is a video; omit"),
        (["--submission", "ade20k"], "is a video; omit"),
        (["--opacity", "2"], "opacity must be"),
        (["clip.mkv"], "2 outputs would have the name"),
        (["none/*.mkv"], "no such file: none/*.mkv"),
        (["--camera-format", "hls"], "hls"),
        (["--fps", "5"], "--fps 5 is for image sequences"),
        (["%d.png"], "fits no image"),
        (["x" * 300 + ".mp4"], "longer than a name of a file"),
    ],
)
def test_mistakes_are_one_line(here, capsys: pytest.CaptureFixture[str], arguments, reason) -> None:
    write_video(here / "clip.mp4", 1)
    write_video(here / "clip.mkv", 1)
    assert run("clip.mp4", *arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (here / "predictions").exists()


@pytest.mark.usefixtures("here")
def test_a_device_that_is_no_camera_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("/dev/zero") == 2
    error = capsys.readouterr().err
    assert error.startswith("segmenter: /dev/zero is cut, damaged or not a video")
    assert error.count("\n") == 1


def test_without_pyav_the_extra_is_named(
    here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(here / "clip.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    assert run("clip.mp4") == 2
    assert "pip install 'vit-segmenter[video]'" in capsys.readouterr().err


def feed(pipe: Path, end: threading.Event, camera_format: str, num_frames: int = 10_000) -> None:
    """Frames into a pipe, as a camera gives them, until `end` or nobody reads."""
    options = {"live": "1", "flush_packets": "1"} if camera_format == "matroska" else {}
    encoder = "mjpeg" if camera_format == "mjpeg" else "libx264"
    try:
        with (
            pipe.open("wb", buffering=0) as file,
            av.open(file, "w", format=camera_format, options=options) as container,
        ):
            tuning = {"tune": "zerolatency"} if encoder == "libx264" else {}
            stream = container.add_stream(encoder, rate=25, options=tuning)
            stream.height, stream.width = 48, 64
            stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
            for index in range(num_frames):
                frame = av.VideoFrame.from_ndarray(make_picture(index), format="rgb24")
                frame.pts = 5000 + index
                container.mux(stream.encode(frame))
                if end.wait(0.02):
                    break
    except (BrokenPipeError, av.FFmpegError):
        pass


def test_ctrl_c_ends_a_file_keeps_its_frames_and_begins_no_other(
    here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(here / "a.mp4", 200)
    write_video(here / "b.mp4")

    def interrupt(num_frames: int) -> None:
        if num_frames == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(predict_videos, "_progress", lambda _: interrupt)
    assert run("a.mp4", "b.mp4") == 3
    assert capsys.readouterr().err.splitlines() == [
        "segmenter: a.mp4: stopped by a signal; completed frames are kept",
        "segmenter: b.mp4 was not begun: stopped by a signal",
    ]
    assert 3 <= len(read_times(here / "predictions/a_overlay.mp4")) < 30
    assert not (here / "predictions/b_overlay.mp4").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason=f"{NOT_HERE}: named pipes")
@pytest.mark.parametrize("camera_format", ["matroska", "mpegts", "mjpeg"])
def test_a_camera_that_ends_gives_a_whole_video(here, camera_format) -> None:
    os.mkfifo(here / "camera")
    end = threading.Event()
    feeder = threading.Thread(target=feed, args=(here / "camera", end, camera_format, 30))
    feeder.start()
    assert run("camera", "--camera-format", camera_format) == 0
    feeder.join()
    times = read_times(here / "predictions/camera_overlay.mp4")
    assert times[0] == 0
    assert len(times) > 5
    assert (np.diff(times) > 0).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason=f"{NOT_HERE}: named pipes")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_ctrl_c_ends_a_camera_and_the_video_so_far_is_whole(here, number) -> None:
    os.mkfifo(here / "camera")
    end = threading.Event()
    feeder = threading.Thread(target=feed, args=(here / "camera", end, "matroska"))
    feeder.start()
    command = "predict camera --camera-format matroska --model model.safetensors --runtime torch"
    process = subprocess.Popen(
        [sys.executable, "-m", "segmenter", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: list(here.glob("predictions/.segmenter-*.mp4")))
    process.send_signal(number)
    out, error = process.communicate(timeout=300)
    end.set()
    feeder.join()
    assert (process.returncode, error) == (0, "")
    assert "camera: until it ends, or Ctrl-C" in out
    assert len(read_times(here / "predictions/camera_overlay.mp4")) > 0
    assert not list(here.glob("predictions/.segmenter-*.mp4"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason=f"{NOT_HERE}: named pipes")
def test_ctrl_c_ends_a_camera_that_hangs(here) -> None:
    os.mkfifo(here / "camera")
    command = "predict camera --model model.safetensors --runtime torch"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "segmenter", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "until it ends" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 2
    assert error == "segmenter: camera holds no frame\n"
