"""Frames of videos, cameras and numbered images."""
