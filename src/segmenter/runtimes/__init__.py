"""What computes a model: torch, OpenVINO or ONNX Runtime, and the graphs they run."""
