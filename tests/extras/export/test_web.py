"""A page's folder: a graph half as large that computes the same, and a runtime that is known."""

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.extras.export import onnxruntime_web
from segmenter.extras.export.onnxruntime_web import VERSION, read_onnxruntime_web
from segmenter.extras.export.web import rounded_to_half, store_halves, strip_notes
from segmenter.extras.serving.page_files import browser_files, service_files
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.protocol import EvaluationProtocol
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.onnxruntime import onnx_session
from segmenter.runtimes.parity import best_class_agreement
from tests.helpers.command_line import run
from tests.helpers.models import make_spec

CONTENT = b"a runtime"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive, whose files are those that are known."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    known = {name: file._replace(sha256=digest) for name, file in onnxruntime_web._FILES.items()}
    monkeypatch.setattr(onnxruntime_web, "_FILES", known)
    return pack(tmp_path / "runtime.tgz", CONTENT)


def pack(
    path: Path, content: bytes, change: Callable[[tarfile.TarInfo], None] | None = None
) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for file in onnxruntime_web._FILES.values():
            member = tarfile.TarInfo(file.source)
            member.size = len(content)
            if change is not None:
                change(member)
            packed.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.slow
def test_the_graph_is_half_as_large_computes_the_same_and_names_no_file() -> None:
    model = rounded_to_half(Segmenter(make_spec(depth=1, embed_dim=128)).eval())
    graph = to_onnx(model)
    before = graph.SerializeToString()
    store_halves(graph)
    strip_notes(graph)
    after = graph.SerializeToString()
    assert len(after) < 0.55 * len(before)
    assert b".py" in before
    assert b".py" not in after
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 50, 70)).astype(np.float32)
    whole, half = (onnx_session(each, torch.device("cpu"))(pixels) for each in (before, after))
    np.testing.assert_array_equal(whole, half)


@pytest.mark.slow
def test_a_weight_that_16_bits_cannot_hold_stays_as_it_is() -> None:
    model = Segmenter(make_spec(depth=1)).eval()
    graph = to_onnx(model)
    store_halves(graph)
    kinds = {tensor.data_type for tensor in graph.graph.initializer if tensor.dims}
    assert onnx.TensorProto.FLOAT in kinds
    assert onnx.TensorProto.FLOAT16 not in kinds


def test_rounding_is_noticed_where_it_changes_labels() -> None:
    model = Segmenter(make_spec()).eval()
    assert best_class_agreement(model, rounded_to_half(model)) > 0.99
    with torch.no_grad():
        model.get_parameter("decoder.project.weight").mul_(1e7)  # more than 16 bits can hold
    assert best_class_agreement(model, rounded_to_half(model)) < 0.99


def test_the_runtime_that_is_known_is_read(archive: Path) -> None:
    found = read_onnxruntime_web(archive)
    assert set(found) == set(onnxruntime_web.RUNTIME_FILES)
    assert set(found.values()) == {CONTENT}


def as_link(member: tarfile.TarInfo) -> None:
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/hostname", 0


def elsewhere(member: tarfile.TarInfo) -> None:
    member.name = f"../{member.name}"


def test_other_archives_are_refused_in_one_line_that_says_how_to_get_the_right_one(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "cut").write_bytes(archive.read_bytes()[:-20])
    monkeypatch.setattr(onnxruntime_web, "_MAX_BYTES", 1 << 16)
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(1 << 20)))
    pack(tmp_path / "changed", b"another one")
    pack(tmp_path / "links", CONTENT, as_link)
    pack(tmp_path / "outside", CONTENT, elsewhere)
    for name, message in [
        (None, "the page needs ONNX Runtime for browsers"),
        ("missing", "no such file"),
        ("text", "damaged or not an archive"),
        ("cut", "damaged or not an archive"),
        ("bomb", "unpacks to more than 65536 bytes"),
        ("changed", "is not that of the supported version"),
        ("links", "is missing"),
        ("outside", "is missing"),
    ]:
        with pytest.raises(UserError, match=message) as refused:
            read_onnxruntime_web(tmp_path / name if name else None)
        assert f"npm pack onnxruntime-web@{VERSION}" in str(refused.value)


def test_export_refuses_before_it_works(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, protocol in {"flipped": {"flip": True}, "turned": {"rotations": 4}}.items():
        own = EvaluationProtocol.model_validate(protocol)
        save(Segmenter(make_spec().model_copy(update={"protocol": own})), f"{name}.safetensors")
    save(Segmenter(make_spec(in_channels=1)), "grey.safetensors")
    Path("there").mkdir()
    web = ["--format", "web", "--onnxruntime-web", str(archive)]
    names = sorted(path.name for path in Path().iterdir())
    for arguments, message in [
        (["street", "new", "--format", "web"], "npm pack"),
        (["street", "there", *web], "there exists"),
        (["street", "no/such", *web], "its folder is missing"),
        (["street", "new", *web, "--output", "labels"], "neither --output labels nor"),
        (["street", "new", *web, "--no-normalize"], "neither --output labels nor"),
        (["flipped.safetensors", "new", *web], "runs one pass per image"),
        (["turned.safetensors", "new", *web], "rotations 4"),
        (["grey.safetensors", "new", *web], "images have 3 channels, this model takes 1"),
        (["street", "a.onnx", "--onnxruntime-web", str(archive)], "is for --format web"),
    ]:
        assert run("export", *arguments) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == names


def test_both_pages_have_the_same_files_but_for_the_engine() -> None:
    service, browser = service_files(), browser_files()
    assert {name for name in service if service[name] != browser[name]} == {
        "engine.js",
        "index.html",
    }
    page = browser["index.html"].decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "'wasm-unsafe-eval'" in policy[1]
    assert "'unsafe" not in policy[1]
    assert "http" not in policy[1]


@pytest.mark.slow
@pytest.mark.parametrize("is_sensitive", [False, True])
def test_the_folder_holds_what_the_page_checks_and_predict_takes_its_graph(
    tmp_path: Path,
    archive: Path,
    is_sensitive: bool,
    capsys: pytest.CaptureFixture,
    image: np.ndarray,
) -> None:
    known = {"recipe": {"data": "/home/me"}, "license": "Ask my aunt."}
    model = Segmenter(make_spec().model_copy(update=known)).eval()
    if is_sensitive:
        with torch.no_grad():
            model.encoder.norm.weight.mul_(1e-8)  # less than 16 bits can hold, and then more
            model.get_parameter("decoder.project.weight").mul_(1e8)
    save(model, tmp_path / "model.safetensors")
    folder = tmp_path / "new"
    arguments = [str(tmp_path / "model.safetensors"), str(folder), "--format", "web"]
    assert run("export", *arguments, "--onnxruntime-web", str(archive)) == 0
    assert ("not taken" in capsys.readouterr().out) == is_sensitive
    facts = json.loads((folder / "model.json").read_text())
    assert facts["license"] == "Ask my aunt."
    assert "Ask my aunt." in (folder / "LICENSES.txt").read_text()
    for name, file in facts["files"].items():
        content = (folder / name).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert not any(b"/home/me" in path.read_bytes() for path in folder.iterdir())
    assert set(browser_files()) < {path.name for path in folder.iterdir()}
    labels = Predictor(folder / "model.onnx", runtime="onnxruntime")(image)
    assert (labels == Predictor(model)(image)).mean() >= 0.99
    report = json.loads((tmp_path / "new.parity.json").read_text())
    assert report["onnxruntime_web"] == VERSION
    assert {parity["passed"] for parity in report["parity"]} == {True}
    assert run("export", *arguments, "--onnxruntime-web", str(archive), "--overwrite") == 0
