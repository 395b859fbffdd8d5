"""Exported files: what is written into them beside the graph, and how they are read safely.

An ONNX file, or an OpenVINO `NAME.xml` with `NAME.bin` beside it, that `segmenter export` wrote
carries an `ExportFacts` as JSON. Nothing else is run.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from segmenter.errors import UserError
from segmenter.files.optional import require
from segmenter.files.yaml import first_problem
from segmenter.model.spec import ModelSpec
from segmenter.options import GraphOutput

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

FACTS_KEY = "segmenter"
LICENSE_KEY = "license"
"""Metadata that other programs show of a graph; the facts hold it too."""
_STANDARD_OPERATORS = ("", "ai.onnx")
_CONTROL = ("Loop", "Scan", "TensorIterator", "If", "SequenceMap")
"""Operators that run other graphs, without an end or a way that could be known."""


class ExportFacts(BaseModel):
    """Facts that an exported file carries about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    spec: ModelSpec
    output: GraphOutput = "logits"
    normalizes: bool = True
    """True: the graph takes pixels of 0 to 255. False: normalised images."""


class Exported(NamedTuple):
    """An exported file, read and checked."""

    facts: ExportFacts
    graph: bytes
    """ONNX, or OpenVINO's XML."""
    weights: bytes | None
    """OpenVINO's weights; None: the graph is ONNX."""


def add_facts(graph: "ModelProto", facts: ExportFacts) -> bytes:
    """Write the facts into an ONNX graph; returns the content of its file."""
    del graph.metadata_props[:]
    graph.metadata_props.add(key=FACTS_KEY, value=facts.model_dump_json())
    if facts.spec.license:
        graph.metadata_props.add(key=LICENSE_KEY, value=facts.spec.license)
    return graph.SerializeToString()


def read_exported(path: Path) -> Exported:
    """Read an exported file, both files of it for OpenVINO, wholly into memory.

    Raises:
        UserError: If it is missing, damaged, not one of ours, or has data outside itself.
    """
    if not path.is_file():
        raise UserError(f"no such model file: {path}")
    if path.suffix == ".onnx":
        graph = path.read_bytes()
        return Exported(_onnx_facts(path, graph), graph, None)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise UserError(f"{path} has its weights in {weights.name} beside it, which is missing")
    graph, content = path.read_bytes(), weights.read_bytes()
    return Exported(_openvino_facts(path, graph, len(content)), graph, content)


def _onnx_facts(path: Path, content: bytes) -> ExportFacts:
    """Return the facts in an ONNX file, after checking all that could lead outside of it."""
    require(f"{path}", "onnx", extra="export")
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf's errors, and those of texts that are not UTF-8
        raise UserError(f"{path} is damaged or not an ONNX file") from None
    facts = {entry.key: entry.value for entry in model.metadata_props}.get(FACTS_KEY)
    if facts is None:
        raise UserError(
            f"{path} was not written by `segmenter export`: it does not state its classes"
        )
    if model.functions or model.training_info:
        raise UserError(f"{path} is refused: exports have neither functions nor training steps")
    for graph in reversed([*_graphs(model.graph)]):  # the innermost first
        _check_graph(path, graph)
    return _parsed(path, facts)


def _check_graph(path: Path, graph: "GraphProto") -> None:
    """Refuse tensors that lie outside the file, and operators that only a plug-in knows."""
    if graph.sparse_initializer:
        raise UserError(f"{path} is refused: exports have no sparse tensors")
    for tensor in _tensors(graph):
        if tensor.external_data or tensor.data_location:
            raise UserError(
                f"{path} is refused: the data of {tensor.name!r} lies outside the file; "
                "`segmenter export` writes whole files"
            )
    for node in graph.node:
        if node.domain not in _STANDARD_OPERATORS:
            raise UserError(
                f"{path} is refused: {node.domain}.{node.op_type} is not an ONNX operator"
            )
        if node.op_type in _CONTROL:
            raise UserError(f"{path} is refused: exports do not use the operator {node.op_type}")
        if any(attribute.HasField("sparse_tensor") for attribute in node.attribute):
            raise UserError(f"{path} is refused: exports have no sparse tensors")


def _graphs(graph: "GraphProto") -> Iterator["GraphProto"]:
    """Yield a graph, and all graphs inside its nodes."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _tensors(graph: "GraphProto") -> Iterable["TensorProto"]:
    """Return all tensors that a graph holds itself."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def _openvino_facts(path: Path, content: bytes, num_weight_bytes: int) -> ExportFacts:
    """Return the facts in the `rt_info` of an OpenVINO file, after checking its tensors' places."""
    from xml.etree import ElementTree

    # A NUL: of an encoding in which the other two would look otherwise.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\0" in content:
        raise UserError(f"{path} is refused: exports define no XML entities")
    try:
        root = ElementTree.fromstring(content)
        for layer in root.iter("layer"):
            if layer.get("type") in _CONTROL:
                raise UserError(
                    f"{path} is refused: exports do not use the operator {layer.get('type')}"
                )
        for data in root.iter("data"):
            end = int(data.get("offset", 0)) + int(data.get("size", 0))
            if not 0 <= int(data.get("offset", 0)) <= end <= num_weight_bytes:
                raise UserError(
                    f"{path} does not belong to its .bin of {num_weight_bytes:,} bytes: a tensor "
                    f"ends at {end:,}; copy both files again"
                )
        entry = root.find(f"./rt_info/{FACTS_KEY}")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged or not an OpenVINO file") from None
    facts = None if entry is None else entry.get("value")
    if facts is None:
        raise UserError(
            f"{path} was not written by `segmenter export`: it does not state its classes"
        )
    return _parsed(path, facts)


def _parsed(path: Path, facts: Any) -> ExportFacts:
    """Check the facts as strictly as those in a model file."""
    try:
        return ExportFacts.model_validate_json(facts)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, ExportFacts)}") from None
