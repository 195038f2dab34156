"""Lists everything that an environment fetches from elsewhere: a table, JSON, or input for skopeo and oras.

scripts/mirror ENV                     a table; packages are counted by lock
scripts/mirror ENV --json              everything, with all digests
scripts/mirror ENV --skopeo            for: skopeo sync --src yaml --dest docker FILE MIRROR
scripts/mirror ENV --oras [--to HOST/PATH]   SOURCE TARGET a line, for: xargs -n2 oras cp -r

Without a mirror of its own (registry.images), an environment's proxies in Artifact Registry fetch images themselves.
A chart whose NAME has a # comes by helm: helm pull AFTER --repo https://FROM/BEFORE --version VERSION.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from infra.errors import SettingsError
from infra.settings_loader import load_all
from scripts.generate_infra import synthesize
from scripts.mirror_items import Item, items

_ENVIRONMENTS = Path(__file__).parents[1] / "configs" / "environments"
_PACKAGES = ("wheel", "npm")


def table(found: Sequence[Item]) -> str:
    """A line an item, and a line a lock of packages."""
    rows = [("KIND", "FROM", "NAME", "VERSION", "DIGEST", "USED BY")]
    rows += [
        (each.kind, each.host, each.name, each.version or "-", (each.digests or ("-",))[0], each.used_by)
        for each in found
        if each.kind not in _PACKAGES
    ]
    counted = Counter((each.kind, each.host, each.used_by) for each in found if each.kind in _PACKAGES)
    rows += [(kind, host, f"{count} packages", "-", "-", lock) for (kind, host, lock), count in counted.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def skopeo(found: Sequence[Item]) -> str:
    """What ``skopeo sync --src yaml`` reads: host -> repository -> digests, or tags where there is no digest."""
    hosts: dict[str, dict[str, dict[str, list[str]]]] = {}
    for each in found:
        if each.kind == "image":
            images = hosts.setdefault(each.host, {"images": {}})["images"]
            versions = images.setdefault(each.name, [])
            versions += [version for version in each.digests or (each.version,) if version not in versions]
    return yaml.safe_dump(hosts, sort_keys=True)


def oras(found: Sequence[Item], mirror: str) -> str:
    """Source and target of everything in OCI registries; charts go where the environment looks for charts."""
    lines = []
    for each in found:
        if each.kind not in ("image", "artifact") and each.target is None:
            continue
        version = f"@{each.digests[0]}" if each.digests else f":{each.version}"
        target = (each.target or f"{mirror}/{each.name}").removeprefix("oci://")
        lines.append(f"{each.host}/{each.name}{version} {target}{version}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment")
    forms = parser.add_mutually_exclusive_group()
    for form in ("json", "skopeo", "oras"):
        forms.add_argument(f"--{form}", action="store_const", dest="form", const=form)
    parser.add_argument("--to", metavar="HOST/PATH", help="with --oras: the mirror; registry.images otherwise")
    given = parser.parse_args(arguments)
    try:
        known = {each.name: each for each in load_all(_ENVIRONMENTS)}
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 64
    if given.environment not in known:
        print(f"mirror: there is no environment {given.environment!r}; known: {', '.join(known)}", file=sys.stderr)
        return 64
    environment = known[given.environment]
    mirror = given.to or environment.registry.images
    if given.form == "oras" and mirror is None:
        print("mirror: no mirror is named\n    fix: give --to HOST/PATH, or set registry.images", file=sys.stderr)
        return 64
    found = items(environment, dict(synthesize()[given.environment]))
    if given.form == "json":
        text = json.dumps([each.as_dict() for each in found], indent=2) + "\n"
    elif given.form == "oras":
        text = oras(found, str(mirror))
    else:
        text = skopeo(found) if given.form == "skopeo" else table(found)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
