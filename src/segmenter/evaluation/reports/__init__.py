"""Pages that show scores."""
