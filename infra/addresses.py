"""Address ranges that the network's rules and the cluster's network policies must both name."""

from __future__ import annotations

GOOGLE_APIS = "199.36.153.8/30"
"""The addresses of private.googleapis.com. Source: Google Cloud, Configure Private Google Access."""
GOOGLE_APIS_ADDRESSES = tuple(f"199.36.153.{last}" for last in range(8, 12))

PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Source: RFC 1918."""
