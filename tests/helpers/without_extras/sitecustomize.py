"""With this folder on PYTHONPATH, no library of an extra can be imported."""

import sys

MODULES = (
    *("av", "huggingface_hub", "mlflow", "onnx", "onnxruntime", "onnxscript", "openvino"),
    *("prometheus_client", "python_multipart", "rasterio", "ray", "starlette", "tensorboard"),
    *("timm", "torchvision", "uvicorn", "wandb"),
)

for name in MODULES:
    sys.modules[name] = None  # type: ignore[assignment]  # `find_spec` finds none either
