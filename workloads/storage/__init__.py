"""Bytes that can be believed: atomic files, manifests, and stores that many machines see."""
