"""A federation whose right answer is known, between real processes."""
