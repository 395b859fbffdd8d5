"""Compute a model with torch, OpenVINO or ONNX Runtime."""
