"""Which model and host serve a request."""
