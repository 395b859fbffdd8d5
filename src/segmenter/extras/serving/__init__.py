"""A model behind HTTP: bounded in bytes, pixels, time and waiting requests."""
