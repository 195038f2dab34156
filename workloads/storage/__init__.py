"""Bytes on disk that can be believed: atomic files and manifests."""
