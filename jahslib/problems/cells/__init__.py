"""Cells of NAS-Bench-201: tables, and synthetic errors."""
