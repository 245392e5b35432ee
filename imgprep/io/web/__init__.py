"""Pictures from the web: politely, checked, many at once."""
