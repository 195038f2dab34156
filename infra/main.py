"""The cdktf app: for every environment a cluster stack and a platform stack. ``--check`` only reads the settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import EXIT_INPUT, SettingsError
from infra.settings_loader import load_all

FOLDER = "TUNERY_ENVIRONMENTS"
"""Environment variable: the folder of the environments, when it is not ``configs/environments``."""
DEFAULT_FOLDER = Path(__file__).parents[1] / "configs" / "environments"


def main(arguments: Sequence[str]) -> int:
    """Synthesizes all environments into cdktf's output folder; returns 64 when one of them is wrong."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m infra.main [--check]\n")
        return EXIT_INPUT
    try:
        environments = load_all(Path(os.environ.get(FOLDER) or DEFAULT_FOLDER))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_INPUT
    if arguments:
        sys.stdout.write("correct: " + ", ".join(environment.name for environment in environments) + "\n")
        return 0

    # Only now, because the bindings take seconds to start and a wrong setting is told at once.
    from infra.bindings import cdktf
    from infra.stacks import cluster, platform

    app = cdktf.App()
    for environment in environments:
        # cdktf deploys stacks side by side unless one says that it needs the other.
        platform.build(app, environment).add_dependency(cluster.build(app, environment))
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
