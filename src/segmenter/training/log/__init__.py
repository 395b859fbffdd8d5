"""Report a run while it trains: lines, curves, and trackers."""
