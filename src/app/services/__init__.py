"""Use cases, above their instruments. A service owns its transactions."""
