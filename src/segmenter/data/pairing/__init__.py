"""Which images and masks a folder holds, and which belong together."""
