"""An ONNX graph in the other formats."""

import io
import json
import tempfile
from pathlib import Path

from segmenter.runtimes.exported import FACTS_KEY, LICENSE_KEY, ExportFacts
from segmenter.runtimes.graph import INPUT
from segmenter.runtimes.openvino import openvino_core
from segmenter.text import visible

_MAX_BATCH = 8
"""Images that Triton computes together, at most."""


def openvino_files(graph: bytes, facts: ExportFacts) -> tuple[bytes, bytes]:
    """Turn a graph into OpenVINO's weights (`NAME.bin`) and topology (`NAME.xml`), as float32."""
    import openvino

    model = openvino_core().read_model(io.BytesIO(graph))
    for key in list(model.get_rt_info()):
        del model.get_rt_info()[key]
    model.set_rt_info(facts.model_dump_json(), [FACTS_KEY])
    if facts.spec.license:
        model.set_rt_info(facts.spec.license, [LICENSE_KEY])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        return path.with_suffix(".bin").read_bytes(), path.read_bytes()


def triton_config(name: str, facts: ExportFacts) -> str:
    """Return Triton's `config.pbtxt` of a graph; the batch axis is Triton's own."""
    channels = facts.spec.encoder.in_channels
    output = "logits" if facts.output == "logits" else "labels"
    kind = "TYPE_FP32" if output == "logits" else "TYPE_INT32"
    dims = f"[ {len(facts.spec.classes)}, -1, -1 ]" if output == "logits" else "[ -1, -1 ]"
    text = json.dumps(visible(facts.spec.license), ensure_ascii=False)
    parameter = f'parameters {{ key: "{LICENSE_KEY}" value: {{ string_value: {text} }} }}\n'
    license = parameter if facts.spec.license else ""
    return f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [ {{ name: "{INPUT}" data_type: TYPE_FP32 dims: [ {channels}, -1, -1 ] }} ]
output [ {{ name: "{output}" data_type: {kind} dims: {dims} }} ]
dynamic_batching {{ }}
{license}"""
