"""The verbs: each with its settings, what it does with them, and what it found."""
