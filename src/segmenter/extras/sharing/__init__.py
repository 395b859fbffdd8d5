"""Models for others: their cards, the way to the hub, and what is at hand."""
