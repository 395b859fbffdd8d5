"""Write the files of the page that computes in a browser: a small graph, and `model.json`."""

import base64
import copy
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.extras.export.onnxruntime_web import RUNTIME_FILES
from segmenter.model import ModelSpec, Segmenter
from segmenter.text import visible

if TYPE_CHECKING:
    from onnx import ModelProto

GRAPH_NAME = "model.onnx"
_MIN_HALVES = 1024
"""Numbers from which on a tensor is worth storing in 16 bits."""
_CHECK_PATCHES = (8, 6)


def check_browser_model(spec: ModelSpec) -> None:
    """Refuse, before any work is done, a model that the page cannot show images to.

    Raises:
        UserError: If it takes other than RGB, or its protocol looks at an image more than once.
    """
    spec.require_rgb("pages in a browser", "use `segmenter serve`, or another --format")
    protocol = spec.protocol
    plain = {"resize_filter": "bilinear", "spacing": "stride", "window_average": "logits"}
    found = protocol.model_dump(include=set(plain))
    if found != plain:
        shown = ", ".join(f"{name} {value}" for name, value in found.items())
        raise UserError(
            f"the in-browser page does not support the model's protocol ({shown}); "
            "use `segmenter serve`"
        )
    if protocol.num_orientations > 1 or protocol.scales != (1.0,):
        raise UserError(
            "the in-browser page runs one pass per image, but the model's protocol has "
            f"flip {protocol.flip}, rotations {protocol.rotations} and scales "
            f"{list(protocol.scales)}; set them to false, 1 and [1.0]"
        )


def rounded_to_half(model: Segmenter) -> Segmenter:
    """Return a copy of a model with each weight rounded to what 16 bits can hold."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in rounded.parameters():
            tensor.copy_(tensor.half())
    return rounded


def store_halves(graph: "ModelProto") -> None:
    """Store as float16 each weight that loses nothing by it; the graph makes float32 of them.

    So a download is half as long, and what is computed stays the same.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < _MIN_HALVES or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def strip_notes(graph: "ModelProto") -> None:
    """Take out what the exporter notes of each node: file names of this machine, and much of it."""
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def browser_facts(name: str, model: Segmenter, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of `model.json`.

    Args:
        name: Name of the model, as the page shows it.
        model: What the graph computes.
        files: The graph and the runtime, by name, which the page checks before it uses them.
    """
    spec = model.spec
    return {
        "name": visible(name),
        "license": visible(spec.license),
        "classes": [visible(each) for each in spec.classes.names],
        "version": version("vit-segmenter"),
        "provenance": visible(spec.provenance),
        "colors": spec.classes.colors.tolist(),
        "distinct_colors": recolored(spec.classes, "distinct").colors.tolist(),
        "layers": [],  # the graph does not give attention
        "protocol": spec.protocol.model_dump(mode="json"),
        "fit": spec.size_policy,
        "cell": spec.encoder.patch_size / spec.decoder.logits_per_patch_side,  # pixels of one logit
        "files": {
            file: {"bytes": len(files[file]), "sha256": hashlib.sha256(files[file]).hexdigest()}
            for file in (GRAPH_NAME, *RUNTIME_FILES)
        },
        "check": _check_example(model),
    }


@torch.inference_mode()
def _check_example(model: Segmenter) -> dict[str, Any]:
    """Return a small picture, and its patch logits, for the page to try itself on."""
    patch = model.spec.encoder.patch_size
    rows, columns = _CHECK_PATCHES
    coarse = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    # No multiple of the patch, so that padding is tried too.
    picture = coarse.repeat(patch, axis=0).repeat(patch, axis=1)[: -(patch // 2) or None]
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    logits = model.patch_logits(model.normalize(pixels))
    return {
        "size": list(picture.shape[:2]),
        "pixels": _base64(pixels.numpy()),
        "logits": _base64(logits.numpy().astype("<f4")),
    }


def _base64(numbers: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
