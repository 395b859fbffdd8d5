"""Files of `pickle` and `torch.save`, read without executing anything."""
