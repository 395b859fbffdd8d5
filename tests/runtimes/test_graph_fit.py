"""An exported file whose facts do not fit its graph is refused when it is opened, in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from segmenter.errors import UserError
from segmenter.extras.export.write import openvino_files
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.options import Compute
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.open_runtime import open_runtime
from tests.helpers.models import make_classes, make_spec

Change = Callable[[onnx.ModelProto], object]


@pytest.fixture(scope="module")
def graph() -> bytes:
    torch.manual_seed(0)
    model = Segmenter(make_spec(depth=1)).eval()
    return add_facts(to_onnx(model), ExportFacts(spec=model.spec))


def facts_say(*place: str, value: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        facts = json.loads(model.metadata_props[0].value)
        inner = facts
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        model.metadata_props[0].value = json.dumps(facts)

    return change


def classes_of(count: int) -> Change:
    return facts_say("spec", "classes", value=make_classes(count).model_dump(mode="json"))


def rename(kind: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        (port,) = getattr(model.graph, kind)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == port.name:
                        names[index] = "other"
        port.name = "other"

    return change


def then(operator: str, kind: int = TensorProto.FLOAT, **attributes: Any) -> Change:
    """Another operator after the last one; what is declared says nothing of it."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for index, name in enumerate(node.output):
                if name == "logits":
                    node.output[index] = "before"
        model.graph.node.append(helper.make_node(operator, ["before"], ["logits"], **attributes))
        (port,) = model.graph.output
        port.CopyFrom(helper.make_tensor_value_info("logits", kind, [None] * 4))

    return change


def weights_are_nan(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            lost = np.full(tuple(tensor.dims), np.nan, dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(lost, tensor.name))


def takes_one_size(model: onnx.ModelProto) -> None:
    for dimension in model.graph.input[0].type.tensor_type.shape.dim:
        if not dimension.dim_value:
            dimension.dim_value = 64


def two_outputs(model: onnx.ModelProto) -> None:
    extra = model.graph.node[0].output[0]
    model.graph.output.append(helper.make_tensor_value_info(extra, TensorProto.INT64, None))


def branches(model: onnx.ModelProto) -> None:
    parts = [helper.make_graph([], name, [], []) for name in ("then", "else")]
    model.graph.node.append(
        helper.make_node("If", ["any"], ["chosen"], then_branch=parts[0], else_branch=parts[1])
    )


def grows(model: onnx.ModelProto) -> None:
    """Add the largest of 120 GB of equal numbers, which a trial of any size has to make."""
    graph = model.graph
    (last,) = (node for node in graph.node if "logits" in node.output)
    last.output[:] = ["before"]
    shape = np.array([30_000, 1000, 1000])
    graph.initializer.append(numpy_helper.from_array(shape, "shape"))
    for operator, given, made in [
        ("ReduceMax", ["before"], "one"),
        ("Expand", ["one", "shape"], "many"),
        ("ReduceMax", ["many"], "rest"),
    ]:
        keeps = {"keepdims": 0} if operator == "ReduceMax" else {}
        graph.node.append(helper.make_node(operator, given, [made], **keeps))
    graph.node.append(helper.make_node("Add", ["before", "rest"], ["logits"]))


def loops(model: onnx.ModelProto) -> None:
    model.graph.node.add(op_type="Loop")


CHANGES: dict[str, tuple[Change, str]] = {
    "fewer classes than channels": (
        classes_of(2),
        r"output is logits, float32 \(\?, 3, .*state .*2",
    ),
    "more classes than channels": (
        classes_of(4),
        r"output is logits, float32 \(\?, 3, .*state .*4",
    ),
    "other channels": (
        lambda model: (
            facts_say("spec", "encoder", "in_channels", value=1)(model),
            facts_say("spec", "normalization", value={"mean": [0], "std": [1]})(model),
        ),
        r"input is pixels, float32 \(\?, 3, .*state .*1",
    ),
    "another patch": (facts_say("spec", "encoder", "patch_size", value=8), "graph gives"),
    "NaN mean": (facts_say("spec", "normalization", "mean", value=[float("nan")] * 3), "mean"),
    "std of 0": (facts_say("spec", "normalization", "std", value=[0.0] * 3), "std"),
    "it gives labels": (facts_say("output", value="labels"), "exported with --output labels"),
    "another input name": (rename("input"), "input is other"),
    "another output name": (rename("output"), "output is other"),
    "transposed": (then("Transpose", perm=[0, 1, 3, 2]), r"gives float32 \(2, 3, 5, 3\)"),
    "classes last": (then("Transpose", perm=[0, 2, 3, 1]), r"gives float32|output is logits"),
    "another dtype": (
        then("Cast", TensorProto.DOUBLE, to=TensorProto.DOUBLE),
        r"output is logits, (f64|tensor\(double\))",
    ),
    "weights that are NaN": (weights_are_nan, "gives NaN|cannot"),
    "two outputs": (two_outputs, "2 outputs"),
    "one size only": (takes_one_size, "input is pixels|cannot be run"),
    "branches": (branches, "the operator If"),
    "memory without end": (grows, "cannot be run|cannot run"),
    "a loop": (loops, "do not use the operator Loop"),
}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_onnx_file_that_is_not_what_its_facts_say_is_refused(
    tmp_path: Path, graph: bytes, name: str, runtime: str
) -> None:
    change, message = CHANGES[name]
    model = onnx.load_model_from_string(graph)
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=message) as refused:
        open_runtime(path, Compute(runtime=runtime, precision="float32"))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def write_openvino(folder: Path, graph: bytes, change: Change | None = None) -> Path:
    model = onnx.load_model_from_string(graph)
    if change is not None:
        change(model)
    facts = ExportFacts.model_validate_json(model.metadata_props[0].value)
    weights, topology = openvino_files(model.SerializeToString(), facts)
    (folder / "model.bin").write_bytes(weights)
    (folder / "model.xml").write_bytes(topology)
    return folder / "model.xml"


@pytest.mark.parametrize(
    "name", ["fewer classes than channels", "another input name", "transposed", "another patch"]
)
def test_openvino_files_that_are_not_what_their_facts_say_are_refused(
    tmp_path: Path, graph: bytes, name: str
) -> None:
    change, message = CHANGES[name]
    with pytest.raises(UserError, match=message):
        open_runtime(write_openvino(tmp_path, graph, change), Compute(precision="float32"))


def test_openvino_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, graph: bytes
) -> None:
    path = write_openvino(tmp_path, graph)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"does not belong to its \.bin"):
        open_runtime(path)


def test_xml_in_another_encoding_hides_no_entities(tmp_path: Path, graph: bytes) -> None:
    path = write_openvino(tmp_path, graph)
    path.write_bytes(path.read_text().replace("<?xml", "<!DOCTYPE a []><?xml").encode("utf-16"))
    with pytest.raises(UserError, match="no XML entities"):
        open_runtime(path)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_files_that_fit_still_open(
    tmp_path: Path, graph: bytes, image: np.ndarray, runtime: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(graph)
    predictor = Predictor(tmp_path / "model.onnx", runtime=runtime, precision="float32")
    assert predictor(image).shape == image.shape[:2]
