"""What work on several machines has in common: places that files are written to once, blocks of pairs, and Ray."""
