"""Models in the layout of Hugging Face: a folder of `config.json` and `model.safetensors`."""
