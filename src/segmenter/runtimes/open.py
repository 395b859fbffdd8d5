"""What computes patch logits: torch, OpenVINO or ONNX Runtime, behind one method.

Every runtime has a `spec`, a `name`, a `version`, a `precision` and a `device`, and turns pixels of
0 to 255 into patch logits. Which one computes is the user's choice; `auto` takes the fastest that
is installed.
"""

import hashlib
import threading
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segmenter.checkpoints import load
from segmenter.checkpoints.digests import digest_model
from segmenter.checkpoints.open import resolve
from segmenter.errors import UserError
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.token_merging import check_threshold, merged_patch_logits
from segmenter.runtimes import openvino_graphs
from segmenter.runtimes.devices import has_bfloat16, usable_device
from segmenter.runtimes.exported import is_exported
from segmenter.runtimes.graph_fit import Run, last_line
from segmenter.runtimes.onnxruntime_session import PROVIDERS, onnx_session
from segmenter.runtimes.sources import Source, model_source

RuntimeName = Literal["auto", "torch", "torch-compile", "openvino", "onnxruntime"]
RUNTIMES: tuple[RuntimeName, ...] = ("auto", "torch", "torch-compile", "openvino", "onnxruntime")
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16")

# Graphs are made with the last two.
_NEEDS = {
    "openvino": ("openvino", "onnx", "onnxscript"),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
}
_EXTRA = {"openvino": "fast", "onnxruntime": "export"}

Pixels = Shaped[Tensor, "batch channels height width"]
PatchLogits = Float[Tensor, "batch classes rows columns"]


class TorchRuntime:
    """The model itself; eager, or compiled for each new shape."""

    def __init__(
        self,
        model: Segmenter,
        precision: str,
        device: torch.device,
        *,
        compiles: bool = False,
        merge_tokens: float | None = None,
    ) -> None:
        self.name = "torch-compile" if compiles else "torch"
        self.version = torch.__version__
        self.precision = precision
        self.device = device
        if merge_tokens is not None:
            check_threshold(merge_tokens)
        self.merge_tokens = merge_tokens
        self.model = model.to(device).eval()
        self._compiled = torch.compile(self.model.patch_logits) if compiles else None

    def digest(self) -> str:
        """SHA-256 of weights and spec."""
        return digest_model(self.model).content

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.model.spec

    @torch.inference_mode()
    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of pictures with pixels of 0 to 255."""
        self.model.eval()
        images = self.model.normalize(pixels.to(self.device))
        compute = self._compiled or self.model.patch_logits
        use_autocast = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=use_autocast):
            if self.merge_tokens is None:
                return compute(images).float()
            # Each image is left with another number of tokens, so each goes through alone.
            scores = [
                merged_patch_logits(self.model, one, self.merge_tokens) for one in images.split(1)
            ]
            return torch.cat(scores).float()


class _GraphRuntime:
    """What runtimes that hold a graph have in common: the way in, and torch on request."""

    merge_tokens = None
    _run: Run

    def __init__(self, source: Source, precision: str, device: torch.device) -> None:
        self.spec = source.spec
        self.device = device
        self.precision = precision
        self._source = source
        self._normalizes = source.exported is None or source.exported.facts.normalizes

    @cached_property
    def model(self) -> Segmenter:
        """The model in torch, read anew: this runtime holds a graph."""
        return self._source.load()

    def digest(self) -> str:
        """SHA-256 of weights and spec, or of an exported graph."""
        exported = self._source.exported
        if exported is None:
            return self._source.digests().content
        return hashlib.sha256(exported.graph + (exported.weights or b"")).hexdigest()

    def _computed(self, pixels: Tensor) -> Tensor:
        """What the graph gives; one that came in a file may fail where its trial run did not."""
        if self._source.exported is None:
            return torch.from_numpy(self._run(self._input(pixels).numpy()))
        try:
            found = self._run(self._input(pixels).numpy())
        except Exception as error:  # each runtime has its own errors
            size = "x".join(map(str, pixels.shape[2:]))
            raise UserError(
                f"{self._source.path}: the graph fails on an image of {size}: {last_line(error)}"
            ) from None
        if found.ndim != 4 or found.shape[:2] != (len(pixels), len(self.spec.classes)):
            raise UserError(f"{self._source.path}: the graph gives {found.shape}; export it again")
        return torch.from_numpy(found)

    def _input(self, pixels: Tensor) -> Tensor:
        """Pixels as the graph takes them."""
        if self._normalizes:
            return pixels.float().cpu().contiguous()
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1)
            for values in (self.spec.normalization.mean, self.spec.normalization.std)
        )
        return ((pixels.float().cpu() - mean) / std).contiguous()


class OpenVinoRuntime(_GraphRuntime):
    """The graph on the processor, by OpenVINO; what it compiled is cached."""

    name = "openvino"

    def __init__(self, source: Source, precision: str, device: torch.device) -> None:
        super().__init__(source, precision, device)
        self.version = openvino_graphs.version()
        if source.exported is not None:
            graph, weights = source.exported.graph, source.exported.weights
            with source.named(device):
                self._run = openvino_graphs.compile_graph(graph, weights, precision, source.facts)
        else:
            self._run = openvino_graphs.compile_cached(
                source.key(), source.with_graph, precision, source.max_bytes(), source.facts
            )
        self._lock = threading.Lock()  # one request at a time

    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of pictures with pixels of 0 to 255."""
        with self._lock:
            return self._computed(pixels)


class OnnxRuntime(_GraphRuntime):
    """The graph, by ONNX Runtime, on the device that was asked for and no other."""

    name = "onnxruntime"

    def __init__(self, source: Source, precision: str, device: torch.device) -> None:
        import onnxruntime

        super().__init__(source, precision, device)
        self.version = onnxruntime.__version__
        with source.named(device):
            self._run = source.with_graph(lambda graph: onnx_session(graph, device, source.facts))

    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of pictures with pixels of 0 to 255."""
        return self._computed(pixels)


Runtime = TorchRuntime | OpenVinoRuntime | OnnxRuntime


def describe(runtime: Runtime) -> str:
    """One line that says what computes, such as `openvino 2026.4.1, bfloat16, on cpu`."""
    line = f"{runtime.name} {runtime.version}, {runtime.precision}, on {runtime.device}"
    if runtime.merge_tokens is not None:
        line += f", tokens merged above a cosine of {runtime.merge_tokens}"
    return line


def open_runtime(
    model: Segmenter | str | Path,
    runtime: str = "auto",
    precision: str = "auto",
    device: str | torch.device = "cpu",
    merge_tokens: float | None = None,
) -> Runtime:
    """Bring a model to where it is computed.

    Args:
        model: A model, the bundled name or path of one, or an exported file.
        runtime: One of `RUNTIMES`. `auto`: on a processor the first of OpenVINO, ONNX Runtime and
            torch that is installed; elsewhere torch. A model given as an object, whose weights may
            change, stays in torch.
        precision: `float32`, the published numerics; `bfloat16`, for matrix products; `auto`:
            bfloat16 where OpenVINO or a GPU has it natively, else float32.
        device: Where to compute, such as `cpu` or `cuda:0`.
        merge_tokens: The cosine above which tokens are merged on their way through the encoder
            (`model/token_merging.py`), above 0 and at most 1, where none are; torch alone does it.

    Raises:
        UserError: If any of these cannot be used, or not together.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"no runtime {runtime!r}; choose from {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise UserError(f"no precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    place = usable_device(device)
    path = None if isinstance(model, Segmenter) else resolve(model)
    exported = path is not None and is_exported(path)
    if merge_tokens is not None:
        if exported or runtime not in {"auto", "torch"}:
            asked = f"{path}, which is exported" if exported else runtime
            raise UserError(
                f"tokens are merged in torch, not in {asked}; give a model file and --runtime "
                "torch, or leave merge_tokens out"
            )
        runtime = "torch"
    if runtime == "auto":
        runtime = _fastest(place, is_object=path is None, is_exported=exported)
    if runtime.startswith("torch"):
        if exported:
            raise UserError(f"{path} is exported: take --runtime auto, openvino or onnxruntime")
        loaded = model if isinstance(model, Segmenter) else load(path or model, place)
        if merge_tokens is not None and _fastest(place, is_object=path is None) == "openvino":
            precision = openvino_graphs.usable_precision(precision)  # as without merging
        if precision == "auto":
            native = place.type == "cuda" and has_bfloat16(place)
            precision = "bfloat16" if native else "float32"
        compiles = runtime == "torch-compile"
        return TorchRuntime(loaded, precision, place, compiles=compiles, merge_tokens=merge_tokens)
    _check_installed(runtime)
    source = model_source(model, path)
    if runtime == "openvino":
        if place.type != "cpu":
            raise UserError(f"openvino computes on cpu, not on {place}; take --runtime torch")
        return OpenVinoRuntime(source, openvino_graphs.usable_precision(precision), place)
    if precision == "bfloat16":
        raise UserError("onnxruntime computes in float32; for bfloat16 take openvino or torch")
    if source.exported is not None and source.exported.weights is not None:
        raise UserError(f"{path} is OpenVINO's; take --runtime openvino, or export it as .onnx")
    if place.type not in PROVIDERS:
        raise UserError(f"onnxruntime computes on {' or '.join(PROVIDERS)}, not on {place}")
    return OnnxRuntime(source, "float32", place)


def _fastest(device: torch.device, *, is_object: bool, is_exported: bool = False) -> str:
    """The runtime that `auto` means."""
    if is_object or (device.type != "cpu" and not is_exported):
        return "torch"
    graphs = [name for name in _NEEDS if not _missing(name)] if device.type == "cpu" else []
    return (graphs or (["onnxruntime"] if is_exported else ["torch"]))[0]


def _missing(runtime: str) -> list[str]:
    return [module for module in _NEEDS[runtime] if find_spec(module) is None]


def _check_installed(runtime: str) -> None:
    missing = _missing(runtime)
    if missing:
        raise UserError(
            f"{runtime} needs {', '.join(missing)}, not installed; "
            f"`pip install 'vit-segmenter[{_EXTRA[runtime]}]'`, or take --runtime torch"
        )
