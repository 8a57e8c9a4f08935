"""Sends each paid create at most once."""
