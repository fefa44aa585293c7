"""Networks, layers, and measurements on them."""
