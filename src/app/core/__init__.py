"""The ground: settings, errors, security, logging, clock. No product in it."""
