"""What exists in Google Cloud: environments described in YAML, synthesized to Terraform by CDK for Terraform."""
