"""Data sets by name: locating, reading and verifying them."""
