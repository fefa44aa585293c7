"""Networks, layers and what is measured of them."""
