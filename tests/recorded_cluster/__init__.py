"""Kubernetes objects as their controllers write them, for tests that must not need a cluster.

The forms of messages are those of Kubernetes 1.34, Kueue 0.17, JobSet 0.12, Argo Workflows 4.0, containerd and GKE's
cluster autoscaler.
"""
