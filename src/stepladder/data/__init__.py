"""Examples in and out: formats, checks, splits and the first look at a file."""
