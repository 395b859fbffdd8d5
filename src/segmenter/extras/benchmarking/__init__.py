"""Measure the speed of a model on this machine, and its distance from the hardware limit."""
