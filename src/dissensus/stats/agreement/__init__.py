"""Agreement of annotators and of judges."""
