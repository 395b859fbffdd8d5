"""Adapters for clusters that run Ray; nothing else imports them, and only here Ray is imported."""
