"""The Open Inference Protocol, version 2: tensors in JSON, or behind it as plain bytes.

https://github.com/open-inference/open-inference-protocol (REST), and its binary extension.
"""

import json
import re
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Shaped, UInt
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segmenter.extras.serving.json_numbers import read_numbers
from segmenter.extras.serving.json_outline import read_outline
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.files.yaml import first_problem
from segmenter.model import ModelSpec

HEADER_LENGTH = "inference-header-content-length"
"""Header that says how many bytes of a body are JSON, where tensors follow as bytes."""

_Side = Annotated[int, Field(ge=1, le=65535, strict=True)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Literal["image"]
    shape: Annotated[list[_Side], Field(min_length=4, max_length=4)]
    datatype: Literal["UINT8", "UINT16", "FP32"]
    parameters: dict[str, Any] = {}
    data: Any = None
    """Numbers, of which `read_outline` leaves 0."""


class _Output(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Literal["labels"]
    parameters: dict[Literal["binary_data", "binary_data_size"], Any] = {}


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(max_length=256)] | None = None
    inputs: Annotated[list[_Tensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[_Output], Field(max_length=1)] = []
    """Outputs that are asked for; empty: all, which is one."""


def server_metadata(version: str) -> dict[str, Any]:
    """Describe the server."""
    return {"name": "segmenter", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, spec: ModelSpec, threshold: float | None = None) -> dict[str, Any]:
    """Describe the model's inputs, outputs, licence and threshold; -1 is any size."""
    classes, channels = spec.classes, spec.encoder.in_channels
    datatype = _datatype(sample_dtype(spec).type)
    return {
        "name": name,
        "platform": "segmenter",
        "inputs": [{"name": "image", "datatype": datatype, "shape": [-1, -1, -1, channels]}],
        "outputs": [
            {"name": "labels", "datatype": _datatype(classes.label_dtype), "shape": [-1, -1, -1]}
        ],
        "parameters": {
            "classes": list(classes.names),
            "license": spec.license,
            **({} if threshold is None else {"threshold": threshold}),
        },
    }


def read_request(
    body: bytes,
    json_bytes: str | None,
    channels: int,
    settings: ServiceSettings,
    dtype: np.dtype = np.dtype(np.uint8),  # noqa: B008 - it is immutable
) -> tuple[str | None, Shaped[ndarray, "batch height width channels"]]:
    """Return the id and the images of a request.

    Args:
        body: The whole body.
        json_bytes: The header `HEADER_LENGTH`, if it was sent.
        channels: That the model takes.
        settings: Bounds.
        dtype: Type of the numbers that the model takes.

    Raises:
        RequestError: 400 where the body cannot be read, 422 where it asks for what cannot be.
    """
    head, tail = _split(body, json_bytes)
    outline = read_outline(head)
    if not isinstance(outline.content, dict):
        raise RequestError(422, "bad-request", "the JSON is not an object with inputs")
    try:
        request = _Request.model_validate(outline.content)
    except ValidationError as error:
        raise RequestError(422, "bad-request", first_problem(error, _Request)) from None
    tensor = request.inputs[0]
    if tensor.datatype != (wanted := _datatype(dtype.type)):
        raise RequestError(422, "bad-datatype", f"this model takes {wanted}, got {tensor.datatype}")
    _check_shape(tensor.shape, channels, settings)
    if not outline.spans and tensor.data is None and len(tail):
        _check_size(tensor, len(tail), dtype)
        return request.id, _from_bytes(tail, dtype, tensor.shape)
    if len(tail) or len(outline.spans) != 1:
        raise RequestError(
            422,
            "bad-data",
            "give the numbers once: as a list in data, or as bytes behind the JSON with the "
            f"header {HEADER_LENGTH}",
        )
    if dtype != np.uint8:
        raise RequestError(
            422,
            "bad-data",
            f"numbers of {wanted} are taken as bytes behind the JSON, with the header "
            f"{HEADER_LENGTH}",
        )
    return request.id, read_numbers(head, outline.spans[0], tensor.shape)


def _split(body: bytes, json_bytes: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON of a body, and the bytes behind it."""
    if json_bytes is None:
        return body, memoryview(b"")
    if not re.fullmatch("[0-9]{1,10}", json_bytes) or int(json_bytes) > len(body):
        raise RequestError(
            400, "bad-header-length", f"{HEADER_LENGTH} is not a length within the body"
        )
    return body[: int(json_bytes)], memoryview(body)[int(json_bytes) :]


def _check_shape(shape: list[int], channels: int, settings: ServiceSettings) -> None:
    batch, height, width, given_channels = shape
    if given_channels != channels:
        raise RequestError(
            422,
            "bad-shape",
            f"shape must be batch, height, width and {channels} channels, got {shape}",
        )
    if batch > settings.max_batch or height * width > settings.max_pixels:
        raise RequestError(
            422,
            "too-large",
            f"at most {settings.max_batch} images of {settings.max_pixels} pixels are taken",
        )


def sample_dtype(spec: ModelSpec) -> np.dtype:
    """Return the type of the numbers of an image."""
    return np.dtype(spec.image.dtype if spec.image else np.uint8)


def _from_bytes(tail: memoryview, dtype: np.dtype, shape: list[int]) -> ndarray:
    """Return little-endian numbers as an array, after checking that they are finite."""
    values = np.frombuffer(tail, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise RequestError(422, "bad-data", "data must be finite: some are NaN or infinite")
    return values


def _check_size(tensor: _Tensor, num_bytes: int, dtype: np.dtype) -> None:
    """Compare the bytes behind the JSON with what it says of them."""
    expected = prod(tensor.shape) * dtype.itemsize
    stated = tensor.parameters.get("binary_data_size", num_bytes)
    if num_bytes != expected or type(stated) is not int or stated != expected:
        raise RequestError(
            422,
            "bad-size",
            f"{expected} bytes make this shape, got {num_bytes}, stated as {stated!r:.40}",
        )


def answer(
    name: str, request_id: str | None, labels: UInt[ndarray, "batch height width"], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Return the body of an answer, and the headers that say what it is."""
    output: dict[str, Any] = {
        "name": "labels",
        "shape": list(labels.shape),
        "datatype": _datatype(labels.dtype.type),
    }
    if binary:
        output["parameters"] = {"binary_data_size": labels.nbytes}
    else:
        output["data"] = []
    content: dict[str, Any] = {"model_name": name}
    if request_id is not None:
        content["id"] = request_id
    head = json.dumps(content | {"outputs": [output]}).encode()
    if not binary:
        tail = b"]}]}"
        assert head.endswith(b"[" + tail)
        parts = [head.removesuffix(tail), _number_text(labels.ravel()), tail]
        return b"".join(parts), {"content-type": "application/json"}
    little_endian = labels.astype(labels.dtype.newbyteorder("<")).tobytes()
    return head + little_endian, {
        "content-type": "application/octet-stream",
        HEADER_LENGTH: str(len(head)),
    }


def _number_text(labels: UInt[ndarray, " labels"]) -> bytes:
    """Labels as JSON, some at a time: a list of all would take 8 bytes for each."""
    step = 1 << 16
    starts = range(0, labels.size, step)
    return b",".join(
        ",".join(map(str, labels[start : start + step].tolist())).encode() for start in starts
    )


def _datatype(dtype: type[np.generic]) -> str:
    return {np.uint8: "UINT8", np.uint16: "UINT16", np.float32: "FP32"}[dtype]
