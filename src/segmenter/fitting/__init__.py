"""A decoder on a frozen encoder, fitted to a few masks in seconds."""
