"""Annotations as organisers and adjudicators look at them."""
