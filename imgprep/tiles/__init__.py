"""A picture in pieces, still arrays: windows, components, instances."""
