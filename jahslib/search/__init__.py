"""The one search loop, its trial log, its workers, and how far it is."""
