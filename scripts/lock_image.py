"""Writes the digest of a pushed image, or of the bases, into configs/images.lock.json, after reading it back.

python -m scripts.lock_image IMAGE HOST/REPOSITORY@sha256:DIGEST
python -m scripts.lock_image --bases [--from HOST/PREFIX]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from workloads.cli.output import show_error
from workloads.engines.image_registry import Registries
from workloads.engines.pushed_image import base_digest, lock
from workloads.errors import ExitCode, InputError, TuneryError
from workloads.runtime import image_lock
from workloads.storage.atomic import read_json, write_json

DOCKER_HUB = "registry-1.docker.io"


def lock_bases(registries: Registries, file: Path, host: str, prefix: str) -> None:
    """Writes the digests that the tags of all bases mean now: all of them or none."""
    content = read_json(file)
    for base in content["bases"].values():
        base["digest"] = base_digest(registries, host, f"{prefix}{base['image']}", base["tag"])
    write_json(file, content)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?")
    parser.add_argument("reference", nargs="?")
    parser.add_argument("--bases", action="store_true")
    parser.add_argument("--from", dest="proxy", default=DOCKER_HUB, help="a proxy of Docker Hub")
    given = parser.parse_args(arguments)
    host, _, prefix = given.proxy.partition("/")
    try:
        with Registries() as registries:
            if given.bases:
                lock_bases(registries, image_lock(), host, f"{prefix}/" if prefix else "")
            elif given.image and given.reference:
                found = lock(registries, given.image, given.reference, image_lock())
                print(f"{given.image}: {found.digest}, {found.size:,} bytes")
            else:
                raise InputError.of("No image is named.", "give IMAGE and REFERENCE, or --bases")
    except TuneryError as error:
        show_error(error)
        return int(error.exit_code)
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
