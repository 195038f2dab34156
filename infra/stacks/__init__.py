"""The Terraform stacks of an environment: the cluster and everything in Google Cloud, and what runs on the cluster."""
