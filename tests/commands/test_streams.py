"""Streams, cameras and videos that `predict` does not read: the line says what to do instead."""

from pathlib import Path

import pytest

from segmenter import commands
from segmenter.data.decoding.image_formats import UNREAD_VIDEO_SUFFIXES, VIDEO_SUFFIXES
from tests.helpers.command_line import refused


@pytest.mark.parametrize("parts", [[], ["--parts", "2"]])
@pytest.mark.parametrize(
    "given",
    ["rtsp://host/1", "http://host/a.mp4", "HTTPS://host/%d.jpg", "https:/host/*.mp4", "srt://h:1"],
)
def test_an_address_is_pointed_to_a_named_pipe(
    given: str, parts: list[str], capsys: pytest.CaptureFixture
) -> None:
    error = refused(capsys, "predict", given, *parts)
    assert f"{given} is an address" in error
    assert "mkfifo" in error


@pytest.mark.parametrize("given", ["0", "12"])
def test_the_number_of_a_camera_is_pointed_to_its_device(
    given: str, capsys: pytest.CaptureFixture
) -> None:
    assert "such as /dev/video0" in refused(capsys, "predict", given)


def test_a_camera_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert "no camera at /dev/video99" in refused(capsys, "predict", "/dev/video99")


@pytest.mark.parametrize("suffix", sorted(UNREAD_VIDEO_SUFFIXES))
def test_a_video_that_is_not_read_is_answered_with_how_to_convert_it(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert suffix not in VIDEO_SUFFIXES
    (tmp_path / f"film{suffix.upper()}").write_bytes(b"FLV\x01")
    error = refused(capsys, "predict", str(tmp_path / f"film{suffix.upper()}"))
    assert f"`ffmpeg -i film{suffix.upper()} film.mp4`" in error


@pytest.mark.parametrize(
    "start",
    [
        b"\x1aE\xdf\xa3",
        b"FLV\x01",
        b"\x30\x26\xb2\x75\x8e\x66",
        b"RIFF\0\0\0\0AVI LIST",
        b"\0\0\x01\xba",
        b"\0\0\0\x20ftypisom",
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_a_video_that_is_named_as_an_image_is_called_a_video(
    name: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / name).write_bytes(start + bytes(99))
    with pytest.raises(SystemExit):
        commands.main(["explain", str(tmp_path / name), "--out", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert "is a video" in message
    assert ".mp4" in message
