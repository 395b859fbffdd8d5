"""Files and folders: read safely, written whole or not at all, and never over what is not ours."""
