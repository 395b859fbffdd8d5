"""Videos are decoded upright, whole and at their times, and nothing else is opened for them."""

import itertools
import socket
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.decode import Limits
from segmenter.data.video import frames as video
from segmenter.data.video.frames import Camera, Frame, VideoFile
from segmenter.data.video.image_sequence import find_sequence
from segmenter.errors import UserError
from tests.helpers.paths import SHARED
from tests.helpers.skips import NOT_HERE
from tests.helpers.video_files import (
    ENCODERS,
    VFR,
    cut,
    make_picture,
    set_display_matrix,
    write_sound,
    write_video,
)


def read(path: Path) -> list[Frame]:
    return list(VideoFile(path, "video").frames(lambda: False))


def read_until_error(path: Path) -> tuple[list[Frame], str]:
    frames = []
    with pytest.raises(UserError) as raised:
        frames.extend(VideoFile(path, "video").frames(lambda: False))
    return frames, str(raised.value)


@pytest.mark.parametrize("suffix", ENCODERS)
def test_each_frame_is_read_once_and_in_order(tmp_path: Path, suffix) -> None:
    frames = read(write_video(tmp_path / f"video{suffix}"))
    assert len(frames) == 12
    for index, frame in enumerate(frames):
        assert np.abs(frame.pixels.astype(int) - make_picture(index)).mean() < 15
        assert frame.time - frames[0].time == Fraction(index, 25)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_those_in_the_file(tmp_path: Path, suffix) -> None:
    path = write_video(tmp_path / f"video{suffix}", times=VFR, tick=Fraction(1, 1000))
    assert [1000 * frame.time for frame in read(path)] == VFR


@pytest.mark.parametrize(
    "matrix",
    [
        matrix
        for a, b in itertools.product((-1, 1), repeat=2)
        for matrix in ((a, 0, 0, b), (0, a, b, 0))
    ],
)
def test_frames_are_upright_as_the_display_matrix_says(tmp_path: Path, matrix) -> None:
    path = write_video(tmp_path / "video.mp4", 1)
    plain = read(path)[0].pixels
    set_display_matrix(path, *matrix)
    a, b, c, d = matrix
    y, x = np.indices(plain.shape[:2])
    column, row = a * x + c * y, b * x + d * y
    expected = np.zeros((np.ptp(row) + 1, np.ptp(column) + 1, 3), np.uint8)
    expected[row - row.min(), column - column.min()] = plain
    np.testing.assert_array_equal(read(path)[0].pixels, expected)


def test_the_shape_of_pixels_turns_with_the_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 1, pixel_aspect=Fraction(16, 11))
    assert read(path)[0].pixel_aspect == Fraction(16, 11)
    set_display_matrix(path, 0, 1, -1, 0)
    assert read(path)[0].pixel_aspect == Fraction(11, 16)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_a_cut_video_gives_the_frames_before_the_cut_and_says_so(
    tmp_path: Path, suffix, share
) -> None:
    whole = read(write_video(tmp_path / f"video{suffix}", 50, movflags="faststart"))
    path = cut(tmp_path / f"video{suffix}", share)
    frames, problem = read_until_error(path)
    assert 0.3 * share * 50 < len(frames) < 50
    assert ("is damaged" if suffix == ".avi" and share == 0.9 else "ends early, after") in problem
    pictures = {frame.time: frame.pixels for frame in whole}
    for frame in frames[:-2]:  # of the last, what they refer to may be gone
        np.testing.assert_array_equal(frame.pixels, pictures[frame.time])


def test_sound_that_goes_on_is_no_early_end(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        assert len(read(write_video(tmp_path / f"video{suffix}", sound_seconds=1.5))) == 12


def test_damaged_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.ts", 50, size=(240, 320))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    del content[middle : middle + 188]  # a packet is lost
    path.write_bytes(content)
    frames, problem = read_until_error(path)
    assert len(frames) == 49
    assert "is damaged: 1 of its frames could not be decoded" in problem


def write_playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b""), "is cut, damaged or not a video"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(9000)), "or not a video"),
        (lambda path: cut(write_video(path), 0.5), "is cut, damaged or not a video"),
        (write_playlist, "is cut, damaged or not a video"),
        (lambda path: path.write_text("ffconcat version 1.0\nfile other.mp4\n"), "or not a video"),
        (write_sound, "has no video in it"),
    ],
    ids=["empty", "garbage", "index cut off", "playlist", "concat", "sound"],
)
def test_what_is_no_video_is_one_line(tmp_path: Path, write, reason) -> None:
    write_video(tmp_path / "other.mp4")
    write(tmp_path / "video.mp4")
    frames, problem = read_until_error(tmp_path / "video.mp4")
    assert frames == []
    assert reason in problem
    assert "\n" not in problem


@pytest.mark.parametrize("scheme", ["http", "tcp", "hls+http"])
def test_no_network_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/a.mp4"
        Path("video.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        read_until_error(Path("video.mp4"))
        read_until_error(Path(address))
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_name_is_never_more_than_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("a.ts"))
    Path("a.ts").rename("concat:a.ts|b.ts")
    assert len(read(Path("concat:a.ts|b.ts"))) == 12


def test_large_frames_are_refused_from_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "video.mp4")
    monkeypatch.setattr(video, "VIDEO_LIMITS", Limits(max_pixels=48 * 64 - 1))
    frames, problem = read_until_error(path)
    assert frames == []
    assert "has frames of 48 x 64 pixels; at most 3071 are read" in problem


def test_frames_that_become_too_large_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (
        write_video(tmp_path / f"{size[0]}.ts", size=size).read_bytes()
        for size in ((48, 64), (480, 640))
    )
    (tmp_path / "video.ts").write_bytes(small + large)
    frames, _ = read_until_error(tmp_path / "video.ts")  # the second begins anew to count packets
    assert {frame.pixels.shape for frame in frames} == {(48, 64, 3), (480, 640, 3)}
    monkeypatch.setattr(video, "VIDEO_LIMITS", Limits(max_pixels=50_000))
    frames, problem = read_until_error(tmp_path / "video.ts")
    assert {frame.pixels.shape for frame in frames} == {(48, 64, 3)}
    assert "could not be decoded" in problem


def test_a_camera_begins_at_zero_and_a_stop_is_its_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "camera.mkv", times=[1000 + time for time in VFR])
    taken = []
    for frame in Camera(path, "camera", "matroska").frames(lambda: len(taken) == 5):
        taken.append(25 * frame.time)
    assert [round(time) for time in taken] == VFR[:5]


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    _, problem = read_until_error(tmp_path / "video.mp4")
    assert "pip install 'vit-segmenter[video]'" in problem


def test_a_real_video() -> None:
    path = SHARED / "data/photos/traffic.mp4"
    if not path.exists():
        pytest.skip(f"{NOT_HERE}: {path}")
    frames = VideoFile(path, "traffic").frames(lambda: False)
    assert [frame.time for frame in frames] == [Fraction(index, 30) for index in range(350)]


def test_a_sequence_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 100, 7):
        Image.fromarray(make_picture(number)).save(tmp_path / f"shot-{number}.png")
    Image.fromarray(make_picture(0)).save(tmp_path / "shot-a.png")
    found = find_sequence(str(tmp_path / "shot-%d.png"), 29.97)
    assert found.name == "shot"
    frames = list(found.frames(lambda: False))
    for index, (number, frame) in enumerate(zip((7, 9, 10, 100), frames, strict=True)):
        np.testing.assert_array_equal(frame.pixels, make_picture(number))
        assert frame.time == index / Fraction(2997, 100)
    (tmp_path / "shot-9.png").write_bytes(b"gone")
    frames = []
    with pytest.raises(UserError, match=r"1 of 4 frames cannot be read; the first: .*shot-9\.png"):
        frames.extend(found.frames(lambda: False))
    assert len(frames) == 3


@pytest.mark.parametrize(
    ("pattern", "rate", "reason"),
    [
        ("%04d.png", 25.0, "fits no image"),
        ("%d-%d.png", 25.0, "not a pattern of an image sequence"),
        ("%d/shot.png", 25.0, "not a pattern of an image sequence"),
        ("%d.txt", 25.0, "not a pattern of an image sequence"),
        ("absent/%d.png", 25.0, "cannot be read: No such file"),
        ("%d.png", 0.0, "frames a second must be from 0.01 to 1000, got 0"),
        ("%d.png", 1e-300, "frames a second must be from 0.01"),
        ("%d.png", float("nan"), "frames a second must be from 0.01"),
    ],
)
def test_a_pattern_that_cannot_be_is_one_line(tmp_path: Path, pattern, rate, reason) -> None:
    Image.fromarray(make_picture(1)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=reason):
        find_sequence(str(tmp_path / pattern), rate)
