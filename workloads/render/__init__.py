"""Kubernetes objects of a run. Pure: a run and an environment's contract in, dicts out; the same in, the same out."""
