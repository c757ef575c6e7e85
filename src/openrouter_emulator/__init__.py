"""An OpenRouter that runs offline: an independent witness of the wire, for tests, demos and other projects."""
