"""The plugin's process: ``python -m terraform_provider SCHEMA CLOUD``, started by Terraform."""

from __future__ import annotations

import sys
from pathlib import Path

from terraform_provider.cloud import Cloud
from terraform_provider.protocol import message
from terraform_provider.provider import Provider
from terraform_provider.server import serve


def main() -> int:
    """Serves the schema in the first file, with the cloud in the second."""
    schema_file, cloud_file = map(Path, sys.argv[1:])
    schema = message["GetProviderSchemaResponse"].FromString(schema_file.read_bytes())
    return serve(Provider(schema, Cloud(cloud_file)))


if __name__ == "__main__":
    sys.exit(main())
