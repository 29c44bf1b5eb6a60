"""Trains and scores `emoji-64` and `emoji-32`."""
