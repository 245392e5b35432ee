"""What people look at: cells and the report."""
