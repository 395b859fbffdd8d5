"""Checks that need a GPU: `make test-gpu`."""
