"""Every runtime computes what the model computes, and says what it is."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmenter.checkpoints import model_file as own
from segmenter.checkpoints import save
from segmenter.data.folder import open_folder, read_sample
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import evaluate
from segmenter.files import optional
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.options import Compute
from segmenter.runtimes import open_runtime as open_runtime_module
from segmenter.runtimes import openvino as openvino_graphs
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from tests.helpers.command_line import run
from tests.helpers.models import make_spec
from tests.helpers.skips import NOT_HERE

SIZES = [(64, 64), (37, 90), (5, 100)]
GRAPHS = ["openvino", "onnxruntime"]


def make_model(**spec: object) -> Segmenter:
    """A random model with one block, whose weights are larger than those of usual random ones."""
    torch.manual_seed(0)
    model = Segmenter(make_spec(**{"depth": 1, "decoder": "mask", **spec})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return make_model()


@pytest.fixture(scope="module")
def path(model: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    save(model, path)
    return path


def difference(runtime: Runtime, model: Segmenter, size: tuple[int, int]) -> float:
    """The largest difference from the model's own patch logits, over two pictures."""
    channels = model.spec.encoder.in_channels
    pixels = torch.randint(0, 256, (2, channels, *size), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model.patch_logits(model.normalize(pixels))
    found = runtime.patch_logits(pixels)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    return float((found - expected).abs().max())


@pytest.mark.parametrize("name", ["torch", *GRAPHS])
def test_float32_gives_the_models_own_logits_at_any_size(
    name: str, path: Path, model: Segmenter
) -> None:
    runtime = open_runtime(path, Compute(runtime=name, precision="float32"))
    assert max(difference(runtime, model, size) for size in SIZES) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("decoder", ["linear", "mask"])
@pytest.mark.parametrize(
    "spec",
    [
        {"size_policy": "pad-squeeze", "table_antialias": True},
        {
            "size_policy": "stretch",
            "table_antialias": True,
            "table_resize": "bilinear",
            "patch_size": 14,
        },
        {"table_resize": "bilinear", "prefix_positions": False, "num_prefix_tokens": 5},
        {"table_offset": 0.1, "patch_size": 14},
        {"position": "rotary", "table_grid": None, "layer_scale": True},
        {"in_channels": 1, "embed_dim": 192, "table_grid": (24, 24)},
    ],
    ids=["smooth-bicubic", "smooth-bilinear", "registers", "shifted", "rotary", "grey"],
)
def test_every_kind_of_model_becomes_the_same_graph(
    name: str, decoder: str, spec: dict[str, object]
) -> None:
    model = make_model(decoder=decoder, **spec)
    runtime = open_runtime(model, Compute(runtime=name, precision="float32"))
    assert max(difference(runtime, model, size) for size in SIZES) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_the_bundled_model_gives_the_same_logits_in_every_runtime(name: str) -> None:
    model = open_runtime("street", Compute(runtime="torch", precision="float32")).model
    runtime = open_runtime("street", Compute(runtime=name, precision="float32"))
    assert (
        max(difference(runtime, model, size) for size in [(360, 480), (99, 301), (14, 14)]) < 1e-3
    )


@pytest.mark.parametrize("name", ["torch", *GRAPHS])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (15, 15), (0, 5), (5, 0), (0, 0)])
def test_every_runtime_gives_images_of_any_size_label_maps_of_their_size(
    name: str, size: tuple[int, int], path: Path
) -> None:
    runtime = open_runtime(path, Compute(runtime=name, precision="float32"))
    image = np.zeros((*size, 3), dtype=np.uint8)
    for protocol in (
        EvaluationProtocol(),
        EvaluationProtocol(short_side=32, window=64, stride=48, flip=True),
    ):
        assert Predictor(runtime, protocol=protocol)(image).shape == size


def test_bfloat16_is_near_float32_but_not_the_same(path: Path, model: Segmenter) -> None:
    if openvino_graphs.usable_precision("auto") != "bfloat16":
        pytest.skip(f"{NOT_HERE}: a CPU with bfloat16")
    rough = open_runtime(path, Compute(runtime="openvino", precision="bfloat16"))
    assert 1e-5 < difference(rough, model, (64, 64)) < 0.2


@pytest.mark.slow
def test_on_camvid_bfloat16_chooses_the_classes_of_float32(camvid: Path) -> None:
    """Of all 233 test images: `python benchmarks/precisions.py street DATA`."""
    if openvino_graphs.usable_precision("auto") != "bfloat16":
        pytest.skip(f"{NOT_HERE}: a CPU with bfloat16")
    folder = open_folder(camvid)
    items = folder.items("test")[::16]
    exact, rough = (
        Predictor("street", runtime="openvino", precision=precision)
        for precision in ("float32", "bfloat16")
    )
    images = [read_sample(item, folder.classes).image for item in items]
    same = [exact(image) == rough(image) for image in images]
    assert np.mean(same) >= 0.99
    mious = [evaluate(each, items, folder.classes).scores.miou or 0.0 for each in (exact, rough)]
    assert abs(mious[0] - mious[1]) < 0.002


def test_auto_takes_openvino_and_the_precision_that_the_processor_has(path: Path) -> None:
    predictor = Predictor(path)
    native = openvino_graphs.usable_precision("auto")
    assert (predictor.runtime.name, predictor.runtime.precision) == ("openvino", native)
    assert predictor.runtime.describe().startswith("openvino 20")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that is found beside the CPU; tensors on it have no numbers."""
    meta = torch.device("meta")

    def find(device: object = "auto") -> torch.device:
        return meta if device in ("auto", None) else torch.empty(0, device=str(device)).device

    monkeypatch.setattr(open_runtime_module, "usable_device", find)
    return meta


def test_with_a_gpu_auto_takes_it_and_torch(path: Path, gpu: torch.device) -> None:
    runtime = open_runtime(path)
    assert (runtime.name, runtime.device) == ("torch", gpu)
    assert open_runtime(path, Compute(runtime="torch-compile")).device == gpu
    assert open_runtime(path, Compute(device="cpu")).name == "openvino"


@pytest.mark.parametrize("name", GRAPHS)
def test_a_runtime_of_graphs_stays_on_the_cpu_where_a_gpu_is_found(
    path: Path, gpu: torch.device, name: str
) -> None:
    assert gpu != open_runtime(path, Compute(runtime=name)).device == torch.device("cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_an_exported_file_stays_on_the_cpu_where_a_gpu_is_found(path: Path, tmp_path: Path) -> None:
    assert run("export", str(path), str(tmp_path / "model.onnx")) == 0
    assert open_runtime(tmp_path / "model.onnx").device == torch.device("cpu")


@pytest.mark.usefixtures("gpu")
def test_a_model_object_stays_on_its_device_where_a_gpu_is_found(model: Segmenter) -> None:
    assert Predictor(model).device == torch.device("cpu")


def test_a_model_object_stays_in_torch_where_its_weights_may_change(model: Segmenter) -> None:
    assert Predictor(model).runtime.name == "torch"
    assert Predictor(model).runtime.precision == "float32"


def test_without_openvino_auto_takes_what_is_installed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = optional.find_spec
    absent = {"openvino"}
    monkeypatch.setattr(
        optional, "find_spec", lambda name: None if name in absent else find_spec(name)
    )
    assert open_runtime(path).name == "onnxruntime"
    absent.add("onnxscript")
    assert open_runtime(path).name == "torch"
    with pytest.raises(UserError, match=r"openvino, onnxscript, not installed; .*\[fast\]"):
        open_runtime(path, Compute(runtime="openvino"))
    with pytest.raises(UserError, match=r"onnxscript, not installed; .*\[export\]"):
        open_runtime(path, Compute(runtime="onnxruntime"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, "no runtime 'tensorrt'; choose from auto, torch"),
        ({"precision": "float16"}, "no precision 'float16'; choose from auto, float32"),
        ({"runtime": "onnxruntime", "precision": "bfloat16"}, "onnxruntime computes in float32"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
    ],
)
def test_what_cannot_be_run_is_said(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_runtime(path, Compute(**options))


@pytest.mark.slow
def test_a_provider_that_falls_back_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    class FellBack:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["AzureExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", FellBack)
    with pytest.raises(UserError, match="cannot compute on cpu: it has AzureExecutionProvider"):
        open_runtime(path, Compute(runtime="onnxruntime"))


def test_weights_are_read_into_torch_only_when_asked_for(
    path: Path, model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_runtime(path, Compute(runtime="openvino", precision="float32"))  # now it is in the cache
    loads = []
    read = own.read
    monkeypatch.setattr(own, "read", lambda *a, **k: loads.append(a) or read(*a, **k))
    predictor = Predictor(path, runtime="openvino", precision="float32")
    predictor(np.zeros((20, 30, 3), dtype=np.uint8))
    assert not loads
    torch.testing.assert_close(predictor.model.state_dict(), model.state_dict())
    assert len(loads) == 1


@pytest.mark.slow
def test_other_weights_are_not_taken_from_the_cache(path: Path, tmp_path: Path) -> None:
    open_runtime(path, Compute(runtime="openvino", precision="float32"))
    other = make_model()
    with torch.no_grad():
        other.get_parameter("decoder.norm_logits.bias").add_(1)
    save(other, tmp_path / "other.safetensors")
    runtime = open_runtime(
        tmp_path / "other.safetensors", Compute(runtime="openvino", precision="float32")
    )
    assert difference(runtime, other, (64, 64)) < 1e-4


def test_what_is_no_graph_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="OpenVINO cannot run this graph"):
        openvino_graphs.compile_graph(b"no graph", None, "float32")


def test_threads_share_one_runtime(path: Path, model: Segmenter) -> None:
    runtime = open_runtime(path, Compute(runtime="openvino", precision="float32"))
    pixels = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: runtime.patch_logits(one[None]), pixels))
    expected = model.patch_logits(model.normalize(pixels)).detach()
    torch.testing.assert_close(torch.cat(found), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_two_processes_may_fill_one_cache(path: Path, tmp_path: Path) -> None:
    code = (
        f"from segmenter.runtimes.open_runtime import open_runtime\nopen_runtime({str(path)!r})\n"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert not list((tmp_path / "segmenter").glob(".*"))
