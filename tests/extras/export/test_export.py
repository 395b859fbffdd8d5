"""An exported file computes what the model does, says what it is, and nothing else is run."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch.torch_version import TorchVersion

from segmenter import commands
from segmenter.checkpoints import load, save
from segmenter.errors import UserError
from segmenter.extras.benchmarking.speed import count_flops, count_parameters
from segmenter.extras.explaining.maps import attention, describe
from segmenter.extras.export.write import openvino_files, triton_config
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.architectures import find_architecture
from segmenter.model.decoders import LinearDecoderSpec, MaskTransformerSpec
from segmenter.options import Compute
from segmenter.predicting.rasters import label_raster
from segmenter.runtimes.exported import ExportFacts, add_facts, read_exported
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.onnxruntime import onnx_session
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.openvino import compile_graph
from segmenter.runtimes.parity import check_parity
from tests.helpers.models import DECODERS, make_spec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(make_spec(depth=1)).eval()
    with torch.no_grad():
        model.get_parameter("decoder.project.weight").mul_(20)
    return model


@pytest.fixture(scope="module")
def facts(model: Segmenter) -> ExportFacts:
    return ExportFacts(spec=model.spec)


@pytest.fixture(scope="module")
def graph(model: Segmenter, facts: ExportFacts) -> bytes:
    """The content of a file that `export` would write."""
    return add_facts(to_onnx(model), facts)


@pytest.fixture
def file(tmp_path: Path, graph: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph)
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        commands.main(arguments)
    return int(stopped.value.code or 0)


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_onnx_file_labels_as_the_model_does(
    file: Path, model: Segmenter, image: np.ndarray, runtime: str
) -> None:
    exported = Predictor(file, runtime=runtime, precision="float32")
    expected = Predictor(model).probabilities(image)
    np.testing.assert_allclose(exported.probabilities(image), expected, atol=1e-5)
    assert exported.spec == model.spec
    assert exported.classes.names == model.spec.classes.names


def test_an_exported_file_labels_a_map(file: Path, model: Segmenter, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
    values = np.random.default_rng(0).integers(0, 256, (3, 90, 70), dtype=np.uint8)
    shape = {"height": 90, "width": 70, "count": 3, "dtype": "uint8"}
    transform = rasterio.Affine(1, 0, 5, 0, -1, 9)
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", **shape, transform=transform
    ) as made:
        made.write(values)
    for predictor, name in ((Predictor(file), "exported"), (Predictor(model), "torch")):
        folder = OutputFolder(tmp_path / name)
        assert label_raster(predictor, tmp_path / "map.tif", folder, "map").problem is None
    found, expected = (
        np.array(Image.open(tmp_path / name / "map_label.tif")) for name in ("exported", "torch")
    )
    assert (found == expected).mean() > 0.98


def test_a_service_of_an_exported_file_has_no_layers_and_labels(
    file: Path, model: Segmenter, image: np.ndarray
) -> None:
    predictor = Predictor(file, precision="float32")
    described = describe(predictor, "model")
    assert described["layers"] == []
    assert described["classes"] == list(model.spec.classes.names)
    with pytest.raises(UserError, match="exported file gives no attention") as refused:
        attention(predictor, image, 0, (0.5, 0.5), None)
    assert str(file) not in str(refused.value)  # the answer goes to clients


def test_explain_refuses_an_exported_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run("explain", "examples/road.jpg", "--model", str(file), "--out", out) == 2
    assert "gives no attention" in capsys.readouterr().err


def test_a_file_where_the_folder_for_triton_would_be_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").write_text("mine")
    command = ("export", "street-tiny", str(tmp_path / "new"), "--format", "triton", "--overwrite")
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert "is not a folder" in error
    assert error.count("\n") == 1
    assert (tmp_path / "new").read_text() == "mine"


def test_openvino_files_label_as_the_model_does(
    tmp_path: Path, graph: bytes, facts: ExportFacts, model: Segmenter, image: np.ndarray
) -> None:
    weights, topology = openvino_files(graph, facts)
    (tmp_path / "model.bin").write_bytes(weights)
    (tmp_path / "model.xml").write_bytes(topology)
    exported = Predictor(tmp_path / "model.xml", precision="float32")
    expected = Predictor(model).probabilities(image)
    np.testing.assert_allclose(exported.probabilities(image), expected, atol=1e-5)
    assert exported.spec == model.spec
    with pytest.raises(UserError, match="use --runtime auto or openvino, not onnxruntime"):
        open_runtime(tmp_path / "model.xml", Compute(runtime="onnxruntime"))
    (tmp_path / "model.bin").unlink()
    with pytest.raises(UserError, match=r"its weights in model\.bin beside it, which is missing"):
        read_exported(tmp_path / "model.xml")


def test_parity_holds_and_its_report_has_three_sizes_and_two_batches(
    graph: bytes, model: Segmenter, facts: ExportFacts
) -> None:
    parity = check_parity(model, facts, onnx_session(graph, CPU), "onnxruntime")
    assert parity.passed
    assert len({(case.height, case.width) for case in parity.cases}) == 3
    assert {case.batch for case in parity.cases} == {1, 3}
    assert parity.largest_difference is not None
    assert parity.largest_difference < 1e-4
    assert parity.label_agreement > 0.99
    json.dumps(parity.to_json())


@pytest.mark.parametrize("wrong", [lambda found: found + 0.01, lambda found: found[:, :, :-1]])
def test_parity_fails_where_logits_or_shapes_differ(
    graph: bytes, model: Segmenter, facts: ExportFacts, wrong: Callable[[np.ndarray], np.ndarray]
) -> None:
    session = onnx_session(graph, CPU)
    assert not check_parity(model, facts, lambda given: wrong(session(given)), "wrong").passed


def test_an_exported_file_states_the_licence_to_other_programs_too(
    model: Segmenter, graph: bytes
) -> None:
    spec = model.spec.model_copy(update={"license": 'Ask my "aunt".'})
    facts = ExportFacts(spec=spec)
    content = add_facts(onnx.load_model_from_string(graph), facts)
    entries = onnx.load_model_from_string(content).metadata_props
    assert {each.key: each.value for each in entries}["license"] == spec.license
    topology = openvino_files(graph, facts)[1]
    entry = ElementTree.fromstring(topology).find("./rt_info/license")
    assert entry is not None
    assert entry.get("value") == spec.license
    config = triton_config("new", facts)
    line = r'parameters { key: "license" value: { string_value: "Ask my \"aunt\"." } }'
    assert line in config.splitlines()


def test_an_export_without_a_licence_states_none(model: Segmenter, graph: bytes) -> None:
    facts = ExportFacts(spec=model.spec)
    entries = onnx.load_model_from_string(graph).metadata_props
    assert [each.key for each in entries] == ["segmenter"]
    assert "license" not in triton_config("new", facts)


def test_torch_and_load_say_who_takes_an_exported_file(file: Path) -> None:
    with pytest.raises(UserError, match="is exported: use --runtime auto"):
        open_runtime(file, Compute(runtime="torch"))
    with pytest.raises(UserError, match="use it with `Predictor`"):
        load(file)
    with pytest.raises(UserError, match="load the model it came from"):
        _ = Predictor(file).model


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def external_in_a_branch(model: onnx.ModelProto) -> None:
    node = model.graph.node.add(op_type="If")
    constant = node.attribute.add(name="then_branch").g.node.add(op_type="Constant")
    constant.attribute.add(name="value").t.external_data.add(key="location", value="../secret")


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().dims.append(1 << 40)


def sparse_constant(model: onnx.ModelProto) -> None:
    attribute = model.graph.node.add(op_type="Constant").attribute.add(name="sparse_value")
    attribute.sparse_tensor.dims.append(1 << 40)


def plug_in(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def functions(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="")


def strangers(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def other_facts(model: onnx.ModelProto) -> None:
    facts = json.loads(model.metadata_props[0].value)
    facts["spec"]["encoder"]["embed_dim"] = 10**9
    model.metadata_props[0].value = json.dumps(facts)


def no_json(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = "[" * 100_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (external, "lies outside the file"),
        (external_in_a_branch, "lies outside the file"),
        (sparse, "sparse tensors"),
        (sparse_constant, "sparse tensors"),
        (plug_in, r"com\.example\.\w+ is not an ONNX operator"),
        (functions, "neither functions"),
        (strangers, "was not written by `segmenter export`"),
        (other_facts, "embed_dim"),
        (no_json, r"model\.onnx: "),
    ],
)
def test_files_that_are_not_ours_are_refused(
    file: Path, damage: Callable[[onnx.ModelProto], None], message: str
) -> None:
    content = onnx.load_model_from_string(file.read_bytes())
    damage(content)
    with pytest.raises(UserError, match=message):
        open_runtime(write(file, content))


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 1000])
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("model.onnx", "model.xml"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "model.bin").write_bytes(content)
    for name in ("model.onnx", "model.xml"):
        with pytest.raises(UserError, match=r"damaged or not|not written by"):
            read_exported(tmp_path / name)


def test_flops_are_those_of_the_matrix_products(model: Segmenter) -> None:
    tokens, dim, classes = 4 * 6 + 1, 64, 3
    block = 2 * tokens * dim * (3 * dim + dim + 8 * dim) + 2 * 2 * tokens * tokens * dim
    patches = 2 * 24 * (16 * 16 * 3) * dim + 2 * 24 * dim * classes
    assert count_flops(model.spec, (64, 96)) == block + patches
    assert count_parameters(model.spec) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_operations_of_every_decoder_are_counted(decoder: str) -> None:
    encoder = count_flops(make_spec(embed_dim=64), (64, 64))
    assert count_flops(make_spec(decoder=decoder), (64, 64)) >= encoder


def test_export_refuses_before_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("mine")
    for arguments, message in [
        (["street", "there.onnx"], "there.onnx exists"),
        (["street", "model.pt"], "is a file named NAME.onnx"),
        (["street", "no/such.onnx"], "its folder is missing"),
        (["street", "a.onnx", "--output", "labels", "--data", "x"], "--output logits"),
    ]:
        assert run("export", *arguments) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["there.onnx"]
    assert Path("there.onnx").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "triton"])
def test_export_writes_files_and_a_report_that_the_commands_take(
    tmp_path: Path, model: Segmenter, data_set: Path, format: str, capsys: pytest.CaptureFixture
) -> None:
    model = copy.deepcopy(model)
    model.spec = model.spec.model_copy(update={"license": "Ask my aunt."})
    save(model, tmp_path / "model.safetensors")
    name = {"onnx": "new.onnx", "openvino": "new.xml", "triton": "new"}[format]
    arguments = ["--format", format, "--data", str(data_set), "--split", "val"]
    assert run("export", str(tmp_path / "model.safetensors"), str(tmp_path / name), *arguments) == 0
    said = capsys.readouterr().out
    assert "passed" in said
    assert "is under these terms: Ask my aunt." in said
    report = json.loads((tmp_path / f"{name}.parity.json").read_text())
    assert report["license"] == "Ask my aunt."
    assert report["miou"]["torch"] == pytest.approx(report["miou"]["exported"], abs=1e-3)
    file = tmp_path / name
    if format == "triton":
        assert 'name: "new"' in (file / "config.pbtxt").read_text()
        file = file / "1" / "model.onnx"
    scores = tmp_path / "scores.json"
    assert run("evaluate", str(file), str(data_set), "--split", "val", "--json", str(scores)) == 0
    found = json.loads(scores.read_text())
    assert found["runtime"] in {"openvino", "onnxruntime"}
    assert found["precision"] == "float32"
    assert found["miou"] == pytest.approx(report["miou"]["exported"], abs=1e-6)


@pytest.mark.slow
def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, model: Segmenter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from segmenter.extras.export import graph_files as export

    def other(model: Segmenter, *given: Any, **options: Any) -> onnx.ModelProto:
        changed = Segmenter(model.spec).eval()
        return to_onnx(changed, *given, **options)

    monkeypatch.setattr(export, "to_onnx", other)
    save(model, tmp_path / "model.safetensors")
    assert run("export", str(tmp_path / "model.safetensors"), str(tmp_path / "new.onnx")) == 2
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "the graph differs from the model" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["pad-crop", "pad-squeeze", "stretch"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_graphs_that_give_labels_agree_with_torch(fit: str, runtime: str) -> None:
    model = Segmenter(make_spec(5, depth=1, size_policy=fit, decoder="mask")).eval()
    facts = ExportFacts(spec=model.spec, output="labels", normalizes=False)
    graph = to_onnx(model, "labels", normalizes=False).SerializeToString()
    run = (
        onnx_session(graph, CPU)
        if runtime == "onnxruntime"
        else compile_graph(graph, None, "float32")
    )
    parity = check_parity(model, facts, run, runtime)
    assert parity.passed
    assert parity.label_agreement > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["multi-linear", "atm", "joined-class-tokens", "eomt", "pmt"])
def test_graphs_of_later_decoders_agree_with_torch(decoder: str) -> None:
    model = Segmenter(make_spec(5, decoder=decoder)).eval()
    facts = ExportFacts(spec=model.spec)
    graph = add_facts(to_onnx(model), facts)
    assert check_parity(model, facts, onnx_session(graph, CPU), "onnxruntime").passed
    assert check_parity(model, facts, compile_graph(graph, None, "float32"), "openvino").passed


@pytest.mark.slow
def test_graphs_agree_where_masks_are_as_far_from_zero_as_in_a_trained_model() -> None:
    model = Segmenter(make_spec(5, decoder="eomt")).eval()
    with torch.no_grad():
        for layer in (model.decoder.classify, model.decoder.embed[-1]):
            layer.weight.mul_(50)
    facts = ExportFacts(spec=model.spec)
    graph = add_facts(to_onnx(model), facts)
    assert check_parity(model, facts, onnx_session(graph, CPU), "onnxruntime").passed
    assert check_parity(model, facts, compile_graph(graph, None, "float32"), "openvino").passed


@pytest.mark.slow
def test_a_graph_of_eva02_agrees_with_torch() -> None:
    rotary = {"position": "both", "rotary_grid": (16, 16), "rotary_temperature": 10000.0}
    spec = make_spec(5, mlp="swiglu", mlp_norm=True, table_grid=(16, 16), **rotary)
    model = Segmenter(spec).eval()
    facts = ExportFacts(spec=model.spec)
    graph = add_facts(to_onnx(model), facts)
    assert check_parity(model, facts, onnx_session(graph, CPU), "onnxruntime").passed
    assert check_parity(model, facts, compile_graph(graph, None, "float32"), "openvino").passed


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["linear", "mask"])
@pytest.mark.parametrize("name", ["vit_small_patch16_384", "vit_base_patch16_384"])
def test_the_published_architectures_are_exported_whole(name: str, decoder: str) -> None:
    encoder, normalization = find_architecture(name)
    spec = make_spec(150).model_copy(
        update={
            "encoder": encoder,
            "normalization": normalization,
            "decoder": LinearDecoderSpec()
            if decoder == "linear"
            else MaskTransformerSpec(dim=encoder.embed_dim),
        }
    )
    model = Segmenter(spec).eval()
    facts = ExportFacts(spec=spec)
    graph = add_facts(to_onnx(model), facts)
    assert check_parity(model, facts, onnx_session(graph, CPU), "onnxruntime").passed
    assert check_parity(model, facts, compile_graph(graph, None, "float32"), "openvino").passed


def test_a_torch_that_is_too_old_for_a_graph_is_named(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.9.1"))
    with pytest.raises(
        UserError, match=r"needs torch 2\.11, and 2\.9\.1 is installed.*--runtime torch"
    ):
        to_onnx(model)
