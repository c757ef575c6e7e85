"""Pictures: drawn, described and sold."""
