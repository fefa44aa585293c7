"""Tables from finished searches."""
