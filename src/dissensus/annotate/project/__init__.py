"""An annotation project and its database."""
