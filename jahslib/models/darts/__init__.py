"""Cells of study 05, the supernet that contains all of them, and stacks of selected cells."""
