"""Models as ONNX graphs that run anywhere, and files of them that say what they are."""
