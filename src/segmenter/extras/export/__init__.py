"""Models written for others: ONNX, OpenVINO, and a folder for the browser."""
