"""Tests that run in guests: what they say, what became of them, and how that is written down."""
