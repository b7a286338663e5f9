"""Storm and demo: load and stories on one machine."""
