"""What is kept in the cache is used only if it is whole, its key's own, and the user's alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.checkpoints import model_file as own
from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.files.cache import cache_folder, cached, entry_path
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.runtimes import openvino as openvino_graphs
from segmenter.runtimes import sources
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.sources import model_source
from tests.helpers.models import make_spec
from tests.helpers.relabel import relabel
from tests.helpers.skips import NOT_HERE

AGAIN = b"again"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "segmenter"


def keep(key: str, content: bytes, **options: int) -> bytes:
    """What the cache gives where `content` would be made."""
    return cached(key, lambda: content, bytes, **options)


def test_the_cache_gives_back_what_was_made_once(empty_cache: Path) -> None:
    assert keep("a", b"made") == b"made"
    assert keep("a", AGAIN) == b"made"
    assert keep("b", b"other") == b"other"
    assert len(list(empty_cache.iterdir())) == 2
    assert empty_cache.stat().st_mode & 0o077 == 0


def test_a_full_folder_loses_the_entries_used_longest_ago_and_nothing_else(
    empty_cache: Path,
) -> None:
    for number, key in enumerate("abc"):
        keep(key, bytes(100))
        os.utime(entry_path(key), (number, number))
    (empty_cache / "other").write_bytes(bytes(1000))
    (empty_cache / ("0" * 64)).mkdir()  # cannot be deleted as a file is
    keep("a", AGAIN)  # used, so that b is the one used longest ago
    keep("d", bytes(100), max_folder=600)
    left = {each.name for each in empty_cache.iterdir()}
    assert left == {"other", "0" * 64, *(entry_path(key).name for key in "acd")}


def test_what_a_killed_process_left_half_written_goes_after_a_day(empty_cache: Path) -> None:
    keep("a", b"made")
    old, new = (empty_cache / f".segmenter-{age}.tmp" for age in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    keep("b", b"made")
    assert new.exists()
    assert not old.exists()


@pytest.mark.parametrize("bound", ["max_bytes", "max_folder"])
def test_what_is_too_large_is_not_kept_and_drives_out_nothing(
    empty_cache: Path, bound: str
) -> None:
    keep("a", bytes(10))
    keep("large", bytes(1000), **{bound: 500})
    assert [each.name for each in empty_cache.iterdir()] == [entry_path("a").name]


def becomes(content: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda entry: entry.write_bytes(content(entry.read_bytes()))


def be_a_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def be_a_link(entry: Path) -> None:
    entry.rename(entry.with_suffix(".moved"))
    entry.symlink_to(entry.with_suffix(".moved"))


def be_a_device(entry: Path) -> None:
    entry.unlink()
    entry.symlink_to("/dev/zero")


def be_another_keys(entry: Path) -> None:
    keep("b", b"b")
    shutil.copyfile(entry_path("b"), entry)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "shorter": becomes(lambda data: data[:-1]),
    "empty": becomes(lambda _: b""),
    "longer": becomes(lambda data: data + b"x"),
    "changed": becomes(lambda data: data[:-1] + b"X"),
    "pipe": be_a_pipe,
    "link": be_a_link,
    "device": be_a_device,
    "another key's": be_another_keys,
    "may be written by others": lambda entry: entry.chmod(0o666),
    "40 GB of nothing": lambda entry: os.truncate(entry, 40 << 30),
}


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_that_is_not_as_it_was_kept_is_made_anew_with_one_line(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep("a", b"made")
    DAMAGES[damage](entry_path("a"))
    caplog.clear()
    assert keep("a", AGAIN) == AGAIN
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("rebuilt")
    assert keep("a", b"third") == AGAIN
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("empty_cache")
def test_an_entry_that_cannot_be_used_is_made_anew() -> None:
    def use(content: bytes) -> int:
        return int(content)

    keep("a", b"no number")
    assert cached("a", lambda: b"3", use) == 3
    assert cached("a", lambda: b"4", use) == 3


@pytest.mark.usefixtures("empty_cache")
def test_an_entry_larger_than_its_model_allows_is_not_read() -> None:
    keep("a", b"made")
    assert keep("a", AGAIN, max_bytes=3) == AGAIN


def be_open_to_all(folder: Path) -> None:
    folder.chmod(0o777)


def be_open_to_the_group(folder: Path) -> None:
    folder.chmod(0o775)


def be_a_file(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file in the way")


def be_anothers(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{NOT_HERE}: root, who alone can give a folder away")
    os.chown(folder, 65534, 65534)


@pytest.mark.parametrize("change", [be_open_to_all, be_open_to_the_group, be_a_file, be_anothers])
def test_a_folder_that_is_not_the_users_alone_is_left_alone_with_one_line(
    empty_cache: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    empty_cache.mkdir(mode=0o700)
    change(empty_cache)
    assert keep("a", b"made") == b"made"
    assert keep("a", AGAIN) == AGAIN
    assert len(caplog.messages) == 1
    assert str(empty_cache) in caplog.messages[0]


def test_entries_of_a_folder_that_others_may_write_are_not_read(empty_cache: Path) -> None:
    keep("a", b"planted")
    empty_cache.chmod(0o777)
    assert keep("a", b"made") == b"made"


def test_the_cache_is_the_users_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    assert cache_folder() == Path.home() / ".cache" / "segmenter"


@pytest.fixture
def genuine(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "genuine.safetensors"
    save(Segmenter(make_spec(depth=1)).eval(), path, dtype="float16")
    return path


@pytest.mark.parametrize("is_old", [False, True], ids=["with a digest", "as 0.1.0 wrote it"])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_relabelled_copy_is_refused_and_nothing_of_it_is_kept(
    empty_cache: Path, genuine: Path, is_old: bool, runtime: str
) -> None:
    with pytest.raises(UserError, match=r"damaged|bfloat16"):
        Predictor(relabel(genuine, dtype="BF16", is_old=is_old), runtime=runtime)
    assert not empty_cache.exists()


@pytest.mark.usefixtures("empty_cache")
def test_cached_bytes_other_than_a_graph_are_replaced(
    genuine: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []

    def noting(key: str, *given: Callable, **options: int) -> object:
        keys.append(key)
        return cached(key, *given, **options)

    graph = to_onnx(own.read(genuine))
    monkeypatch.setattr(sources, "to_onnx", lambda *_: graph)
    monkeypatch.setattr(sources, "cached", noting)
    monkeypatch.setattr(openvino_graphs, "cached", noting)
    expected = Predictor(genuine, runtime="torch").probabilities(image)
    for runtime in ("openvino", "onnxruntime"):
        Predictor(genuine, runtime=runtime, precision="float32")
        for key in set(keys):
            entry_path(key).unlink()
            keep(key, b"rubbish")
        found = Predictor(genuine, runtime=runtime, precision="float32").probabilities(image)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_file_of_0_1_0_with_another_spec_has_another_key(genuine: Path) -> None:
    twin = relabel(genuine, spec={"protocol": {"flip": True}}, is_old=True)
    keys = {model_source(path).key() for path in (genuine, twin)}
    assert len(keys) == 2


def test_what_changes_between_two_looks_is_not_kept(genuine: Path) -> None:
    source = model_source(genuine)
    save(Segmenter(make_spec(depth=1)).eval(), genuine, overwrite=True)
    with pytest.raises(UserError, match="was changed while it was read"):
        source.load()


def test_keys_differ_wherever_dtype_shape_or_spec_do(genuine: Path) -> None:
    model = own.read(genuine)
    key = model_source(model).key()
    with torch.no_grad():
        wide = {name: tensor.half() for name, tensor in model.state_dict().items()}
        model.load_state_dict(wide, assign=True)
    assert model_source(model).key() != key
    assert model_source(genuine).key() != key
