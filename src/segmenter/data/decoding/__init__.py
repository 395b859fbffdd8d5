"""Image and mask files, decoded by content."""
