"""Models for others: their cards, the way to the hub, and the list of local models."""
