"""The verbs a notebook calls."""
