"""Data sets by name: where they lie, how they are read and checked."""
