"""Prints the build arguments of an image, NAME=VALUE a line; needs nothing but Python.

python -m scripts.image_arguments IMAGE [--bases PREFIX]
python -m scripts.image_arguments --to FOLDER [--bases PREFIX]    writes FOLDER/IMAGE.arguments for every image

A base is named by its digest. ``--bases`` names a proxy of Docker Hub, such as HOST/PROJECT/REPOSITORY.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from workloads.errors import ExitCode, InputError, Problem, TuneryError, did_you_mean
from workloads.runtime import image_lock
from workloads.storage.atomic import read_json

BASES: dict[str, dict[str, str]] = {
    "trainer": {"BUILD_BASE": "cuda-devel", "BASE": "cuda"},
    "server": {"BUILD_BASE": "cuda-devel", "BASE": "cuda"},
    "stager": {"BASE": "python"},
    "board": {},
}
"""Image -> the arguments of its Dockerfile that name a base of the lock."""
PASSED_ON = ("APT_MIRROR", "PACKAGE_INDEX", "PYTHON_MIRROR", "EXTRA_WHEELS")
"""What a site sets in the environment of a build, where it has mirrors of its own."""


def arguments(image: str, lock: Path, prefix: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The build arguments of one image.

    Raises:
        InputError: there is no such image, or a base has no digest yet.
    """
    if image not in BASES:
        known = ", ".join(BASES)
        raise InputError.of(f"There is no image {image!r}.", f"known: {known}", suggestion=did_you_mean(image, BASES))
    bases = read_json(lock)["bases"]
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for argument, name in BASES[image].items():
        base = bases[name]
        if base["digest"] is None:
            message = f"The base {base['image']}:{base['tag']} has no digest yet."
            fix = "python -m scripts.lock_image --bases, where a registry that has it can be reached"
            problems.append(Problem(message, fix, str(lock), f"bases.{name}.digest"))
        else:
            found[argument] = f"{prefix}/{base['image']}@{base['digest']}"
    if problems:
        raise InputError(problems)
    return found | {name: environ[name] for name in PASSED_ON if environ.get(name)}


def main(given: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?")
    parser.add_argument("--bases", default="docker.io", metavar="PREFIX")
    parser.add_argument("--to", type=Path, metavar="FOLDER")
    options = parser.parse_args(given)
    if (options.image is None) == (options.to is None):
        parser.error("give an image, or --to for all of them")
    try:
        names = [options.image] if options.image else list(BASES)
        texts = {
            name: "".join(f"{key}={value}\n" for key, value in values.items())
            for name in names
            for values in [arguments(name, image_lock(), options.bases.rstrip("/"), os.environ)]
        }
    except TuneryError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    if options.to is None:
        sys.stdout.write(texts[options.image])
        return int(ExitCode.OK)
    options.to.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (options.to / f"{name}.arguments").write_text(text, encoding="utf-8")
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
