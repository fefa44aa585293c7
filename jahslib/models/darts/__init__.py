"""Cells, the supernet that holds all of them, and networks stacked of chosen ones."""
