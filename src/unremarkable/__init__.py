"""unremarkable."""
