"""A Terraform provider that keeps its "cloud" in a file, so that terraform and cdktf run for real without a network.

It speaks version 6 of Terraform's plugin protocol and stands in for ``hashicorp/google`` and ``hashicorp/helm``. Its
schema is that of the real providers, read from the archive (``*.jsii.tgz``) that the installed bindings carry.
"""
