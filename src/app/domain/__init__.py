"""What is allowed, in plain Python: plans, periods, quotas, modes. No I/O, no clock, no settings."""
