"""How fast a model is on this machine, and how far that is from the limit."""
