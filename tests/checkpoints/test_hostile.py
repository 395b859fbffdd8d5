"""Hostile and damaged checkpoints are refused by name, quickly, and nothing of them is run."""

import contextlib
import os
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import segmenter
from segmenter import UserError
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.checkpoints.foreign.rstrudel.variant import read_variant
from segmenter.model import Segmenter
from tests.checkpoints.hostile_files import CANARY, CASES, TOUCH, Calls
from tests.checkpoints.writers import (
    make_model,
    run_measurement,
    write_paddleseg,
    write_rstrudel,
)
from tests.helpers.models import make_spec
from tests.helpers.paths import GOLDEN

# Types that are checked at each call make these slow; the test of times below reads them all.
LONG = {"deep lists", "many steps", "many tensors to leave out", "one text encoded often"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES]
)
def test_a_hostile_file_is_refused_and_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = CASES[name]
    Path("model.pth").write_bytes(content)
    shutil.copy(GOLDEN / "rstrudel_mask" / "variant.yml", "variant.yml")
    with pytest.raises(UserError, match=reason) as refused:
        segmenter.load("model.pth")
    assert "model.pth" in str(refused.value)
    assert not Path(CANARY).exists()
    with pytest.raises(UserError, match=r"model\.pth"):
        load_encoder_weights(Segmenter(make_spec()).encoder, "model.pth")


MEASURE = """
import sys, time, segmenter
from pathlib import Path
from segmenter.checkpoints import load
from tests.checkpoints.writers import peak_memory
before, slowest = peak_memory(), 0.0
for path in sorted(Path(sys.argv[1]).glob("*.pth")):
    start = time.process_time()
    try:
        load(path)
    except segmenter.UserError:
        slowest = max(slowest, time.process_time() - start)
print(slowest, peak_memory() - before)
"""


@pytest.mark.slow
def test_refusing_takes_two_seconds_and_300_mb_at_most(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(CASES.values()):
        (tmp_path / f"{number}.pth").write_bytes(content)
    shutil.copy(GOLDEN / "rstrudel_mask" / "variant.yml", tmp_path)
    seconds, more_memory = run_measurement(MEASURE, tmp_path)
    print(f"slowest {seconds:.2f} s, {more_memory / 1e6:.0f} MB more")
    assert seconds < 2
    assert more_memory < 300e6


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["mmseg_mask/checkpoint.pth", "paddleseg_mask/model.pdparams"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    data = (GOLDEN / name).read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="cut"):
        segmenter.load(tmp_path / "cut")


def test_a_truncated_file_of_old_pytorch_is_refused(tmp_path: Path) -> None:
    path = write_rstrudel(tmp_path, make_model())
    content = torch.load(path)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for length in (100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"damaged"):
            segmenter.load(path)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_end_in_another_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = write_paddleseg(tmp_path, make_model(qkv_bias=False), protocol=2 + seed % 3)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, 3000, 5):
        data[place] = rng.integers(256)
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        segmenter.load(path)


def test_pickled_objects_in_a_npz_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.npz"
    hostile = np.array([Calls(os.system, TOUCH)], dtype=object)
    np.savez(path, **{"embedding/kernel": hostile})
    with pytest.raises(UserError, match=r"encoder\.npz.*'O'"):
        load_encoder_weights(Segmenter(make_spec()).encoder, str(path))
    np.savez_compressed(path, **{"embedding/kernel": np.zeros(1 << 20)})
    with pytest.raises(UserError, match="compressed entry"):
        load_encoder_weights(Segmenter(make_spec()).encoder, str(path))


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself", "device"])
@pytest.mark.parametrize("opened", ["load", "encoder"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str, opened: str) -> None:
    path = tmp_path / "model"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link to itself":
            path.symlink_to(path)
        case "device":
            path.symlink_to("/dev/zero")
    encoder = Segmenter(make_spec()).encoder
    opening = segmenter.load if opened == "load" else partial(load_encoder_weights, encoder)
    with pytest.raises(UserError, match="model"):
        opening(str(path))


BAD_VARIANTS = {
    "a call": "net_kwargs: !!python/object/apply:os.system ['touch canary']",
    "a name": "net_kwargs: !!python/name:os.system",
    "a module": "net_kwargs: !!python/module:os",
    "an object": "net_kwargs: !!python/object/new:collections.OrderedDict []",
    "aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "merged keys": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 45)),
    "deep": "a: " + "[" * 1_000_000,
    "empty": "",
    "a list": "[1, 2]",
}


@pytest.mark.parametrize("name", BAD_VARIANTS)
def test_a_hostile_variant_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("variant.yml").write_text(BAD_VARIANTS[name])
    start = time.process_time()
    with pytest.raises(UserError, match=r"variant\.yml"):
        read_variant(Path("variant.yml"))
    assert time.process_time() - start < 2
    assert not Path(CANARY).exists()
