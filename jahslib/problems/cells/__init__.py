"""Cells of NAS-Bench-201: its table, and synthetic ones."""
