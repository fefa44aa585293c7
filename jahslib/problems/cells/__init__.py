"""Cells of NAS-Bench-201 and of DARTS: tables, synthetic errors, and training."""
