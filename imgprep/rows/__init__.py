"""Which rows there are: sources, tables, splits, labels."""
