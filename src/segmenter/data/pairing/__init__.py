"""Find the images and masks of a folder, and pair them."""
