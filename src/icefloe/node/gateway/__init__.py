"""The gateway: a relay without a seat in the cluster."""
