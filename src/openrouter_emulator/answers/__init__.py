"""What simulated models write."""
