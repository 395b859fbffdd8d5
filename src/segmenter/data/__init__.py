"""Labelled images: found, decoded, checked, augmented, and fed to training."""
