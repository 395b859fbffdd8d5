"""What a run says while it trains: lines, curves, and trackers."""
