"""Ways in which an answer can go wrong, by name."""
