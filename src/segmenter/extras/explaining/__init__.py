"""What a model bases its labels on: attention, confidence, and how it tells classes apart."""
