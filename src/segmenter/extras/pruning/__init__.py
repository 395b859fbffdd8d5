"""Smaller models made of trained ones."""
