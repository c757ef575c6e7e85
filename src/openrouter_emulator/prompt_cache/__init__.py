"""Prompt caching as the vendors do it: what is read, what is written, and for how long it lives."""
