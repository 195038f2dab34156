"""What is checked of the synthesized Terraform: inventories for review, stable ids, the CIS benchmark."""
