"""Other trainers with the objectives of this package."""
