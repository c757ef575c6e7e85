"""Bytes, events, and the record of them."""
