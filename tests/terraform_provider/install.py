"""Puts the provider where Terraform looks: a filesystem mirror, and the CLI configuration that names it.

See "Provider Installation" in Terraform's CLI configuration documentation: an unpacked mirror is
HOSTNAME/NAMESPACE/TYPE/VERSION/TARGET, and a provider in it is any executable of the right name.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from terraform_provider.schema import derive

BINDINGS = {"google": "cdktf_cdktf_provider_google", "helm": "cdktf_cdktf_provider_helm"}
"""Provider -> the package of its bindings."""
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SCRIPT = """#!/bin/sh
cloud="${{TUNERY_FAKE_CLOUD:-{folder}/cloud.json}}"
PYTHONPATH='{package}' exec '{python}' -m terraform_provider '{folder}/{provider}.schema' "$cloud"
"""
_CLI_CONFIGURATION = """disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path = "{mirror}"
  }}
}}
"""


def install(folder: Path) -> Path:
    """Writes the mirror into an absolute folder, in about 3 s.

    Returns the CLI configuration file, for ``TF_CLI_CONFIG_FILE``. ``TUNERY_FAKE_CLOUD`` names the file of the cloud
    when it is not to be ``cloud.json`` in that folder.
    """
    mirror = folder / "mirror"
    target = f"{platform.system().lower()}_{_MACHINES[platform.machine().lower()]}"
    for provider, bindings in BINDINGS.items():
        version, schema = derive(bindings)
        home = mirror / "registry.terraform.io" / "hashicorp" / provider / version / target
        home.mkdir(parents=True)
        (folder / f"{provider}.schema").write_bytes(schema.SerializeToString())
        plugin = home / f"terraform-provider-{provider}_v{version}"
        plugin.write_text(
            _SCRIPT.format(package=Path(__file__).parents[1], python=sys.executable, folder=folder, provider=provider)
        )
        plugin.chmod(0o755)
    configuration = folder / "terraform.rc"
    configuration.write_text(_CLI_CONFIGURATION.format(mirror=mirror))
    return configuration
