"""The Open Inference Protocol, version 2: tensors in JSON, or behind it as plain bytes.

https://github.com/open-inference/open-inference-protocol (REST), and its binary extension.
"""

import json
import re
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import UInt, UInt8
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segmenter.classes import Classes
from segmenter.serving.problems import RequestError
from segmenter.serving.settings import ServiceSettings
from segmenter.validation import first_problem

HEADER_LENGTH = "inference-header-content-length"
"""Header that says how many bytes of a body are JSON, where tensors follow as bytes."""

_Side = Annotated[int, Field(ge=1, le=65535)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Literal["image"]
    shape: Annotated[list[_Side], Field(min_length=4, max_length=4)]
    datatype: Literal["UINT8"]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(max_length=256)] | None = None
    inputs: Annotated[list[_Tensor], Field(min_length=1, max_length=1)]


def server_metadata(version: str) -> dict[str, Any]:
    """What the server is."""
    return {"name": "segmenter", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str, classes: Classes, channels: int) -> dict[str, Any]:
    """What the model takes and gives; -1 is any size."""
    return {
        "name": name,
        "platform": "segmenter",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, channels]}],
        "outputs": [
            {"name": "labels", "datatype": _datatype(classes.label_dtype), "shape": [-1, -1, -1]}
        ],
        "parameters": {"classes": list(classes.names)},
    }


def read_request(
    body: bytes, json_bytes: str | None, channels: int, settings: ServiceSettings
) -> tuple[str | None, UInt8[ndarray, "batch height width channels"]]:
    """The id and the images of a request.

    Args:
        body: The whole body.
        json_bytes: The header `HEADER_LENGTH`, if it was sent.
        channels: That the model takes.
        settings: Bounds.

    Raises:
        RequestError: 400 where the body cannot be read, 422 where it asks for what cannot be.
    """
    if json_bytes is None:
        head, tail = body, b""
    elif re.fullmatch("[0-9]{1,10}", json_bytes) and int(json_bytes) <= len(body):
        head, tail = body[: int(json_bytes)], body[int(json_bytes) :]
    else:
        raise RequestError(
            400, "bad-header-length", f"{HEADER_LENGTH} is no length within the body"
        )
    try:
        content = json.loads(head)
    except (ValueError, RecursionError):
        raise RequestError(400, "bad-json", "the body is no JSON") from None
    if not isinstance(content, dict):
        raise RequestError(422, "bad-request", "the JSON is no object with inputs")
    try:
        request = _Request.model_validate(content)
    except ValidationError as error:
        raise RequestError(422, "bad-request", first_problem(error, _Request)) from None
    tensor = request.inputs[0]
    batch, height, width, given_channels = tensor.shape
    num_values = batch * height * width * given_channels
    if given_channels != channels:
        raise RequestError(422, "bad-shape", f"shape must end with {channels} channels")
    if batch > settings.max_batch or height * width > settings.max_pixels:
        raise RequestError(
            422,
            "too-large",
            f"at most {settings.max_batch} images of {settings.max_pixels} pixels are taken",
        )
    if json_bytes is not None and tail:
        if len(tail) != num_values:
            raise RequestError(
                422, "bad-size", f"{num_values} bytes make this shape, got {len(tail)}"
            )
        return request.id, np.frombuffer(tail, dtype=np.uint8).reshape(tensor.shape)
    return request.id, _values(tensor.data, num_values).reshape(tensor.shape)


def answer(
    name: str, request_id: str | None, labels: UInt[ndarray, "batch height width"], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """The body of an answer, and the headers that say what it is."""
    output: dict[str, Any] = {
        "name": "labels",
        "shape": list(labels.shape),
        "datatype": _datatype(labels.dtype.type),
    }
    if binary:
        output["parameters"] = {"binary_data_size": labels.nbytes}
    else:
        output["data"] = labels.ravel().tolist()
    content = {"model_name": name, "outputs": [output]}
    if request_id is not None:
        content["id"] = request_id
    head = json.dumps(content).encode()
    if not binary:
        return head, {"content-type": "application/json"}
    little_endian = labels.astype(labels.dtype.newbyteorder("<")).tobytes()
    return head + little_endian, {
        "content-type": "application/octet-stream",
        HEADER_LENGTH: str(len(head)),
    }


def _values(data: list[Any] | None, count: int) -> UInt8[ndarray, " values"]:
    """Numbers from 0 to 255, given flat or nested."""
    try:
        values = np.array(data).ravel()
    except ValueError:
        values = np.empty(0)
    is_whole = values.dtype.kind in "iu"
    if values.size != count or not is_whole or values.min() < 0 or values.max() > 255:
        raise RequestError(422, "bad-data", f"data must be {count} whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _datatype(dtype: type[np.generic]) -> str:
    return {np.uint8: "UINT8", np.uint16: "UINT16"}[dtype]
