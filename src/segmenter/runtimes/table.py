"""The table of runtimes: name, requirements and capabilities of each, without importing it.

Neither torch nor a runtime is imported here, so that the command line can read the names.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from segmenter.files.optional import missing

if TYPE_CHECKING:
    from segmenter.runtimes.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class RuntimeRow:
    """A runtime as it is known before its module is imported."""

    name: str
    home: str
    """Module and class that implement it, `module:Class`; see `runtimes/runtime.py`."""
    needs: tuple[str, ...] = ()
    """Optional modules that it imports."""
    extra: str = ""
    """The extra that installs `needs`."""
    devices: tuple[str, ...] | None = None
    """Types of device that it computes on; None: all types of torch."""
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    opens: tuple[str, ...] = ()
    """Suffixes of the exported files that it opens; empty: it takes model files alone."""
    merges_tokens: bool = False
    """True: it can merge tokens between encoder blocks."""
    is_automatic_on: tuple[str, ...] = ()
    """Types of device on which `auto` prefers it to torch, if it is installed."""

    def missing(self) -> list[str]:
        """Return the names of the modules in `needs` that are not installed."""
        return missing(self.needs)

    def runs_on(self, device_type: str) -> bool:
        """Return whether it computes on a type of device, such as `cuda`."""
        return self.devices is None or device_type in self.devices

    def load(self) -> "type[Runtime]":
        """Import the class that implements it."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(module), name)


_ROWS = (
    RuntimeRow(name="torch", home="segmenter.runtimes.torch:TorchRuntime", merges_tokens=True),
    RuntimeRow(name="torch-compile", home="segmenter.runtimes.torch:CompiledTorchRuntime"),
    RuntimeRow(
        name="openvino",
        home="segmenter.runtimes.openvino:OpenVinoRuntime",
        needs=("openvino", "onnx", "onnxscript"),
        extra="fast",
        devices=("cpu",),
        opens=(".onnx", ".xml"),
        is_automatic_on=("cpu",),
    ),
    RuntimeRow(
        name="onnxruntime",
        home="segmenter.runtimes.onnxruntime:OnnxRuntime",
        needs=("onnxruntime", "onnx", "onnxscript"),
        extra="export",
        devices=("cpu", "cuda"),
        precisions=("float32",),
        opens=(".onnx",),
        is_automatic_on=("cpu",),
    ),
)
RUNTIMES: dict[str, RuntimeRow] = {row.name: row for row in _ROWS}
"""Each runtime by its name; `auto` takes the first that qualifies."""
RUNTIME_NAMES = ("auto", *RUNTIMES)
PRECISIONS = ("auto", *dict.fromkeys(each for row in _ROWS for each in row.precisions))

if TYPE_CHECKING:
    RuntimeName = str
    Precision = str
else:  # what the command line offers, without writing the names a second time
    RuntimeName = Literal[RUNTIME_NAMES]
    Precision = Literal[PRECISIONS]


def automatic_runtime(device_type: str) -> RuntimeRow:
    """Return the runtime that `auto` takes for a model file on a type of device, such as `cpu`."""
    preferred = (
        row for row in RUNTIMES.values() if device_type in row.is_automatic_on and not row.missing()
    )
    return next(preferred, RUNTIMES["torch"])
