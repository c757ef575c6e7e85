"""Keys, credits, limits and what was billed."""
