"""Queries, a file a noun. Ownership is part of every query: another person's row is simply not found."""
