"""Reads what ``terraform show -json`` prints of a state or a plan.

Source: HashiCorp's page on Terraform's JSON output format. Unknown properties are ignored and another major version
is refused, as that page asks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import InputError, UnavailableError

_SHOW = "write it with `terraform -chdir=STACK show -json{} > FILE`"
_ZIP = b"PK\x03\x04"
"""How a plan begins that Terraform saved, and did not show."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that Terraform manages; ``values`` are its arguments and attributes."""

    address: str
    type: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Removal:
    """A resource that a plan takes away.

    Attributes:
        replaced: whether another one is made in its place.
        paths: the arguments whose change makes a new one necessary, such as ``node_config.machine_type``.
        reason: Terraform's own word for why, such as ``replace_because_tainted``; empty when it gives none.
    """

    resource: Resource
    replaced: bool
    paths: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan does: the removals, and how many changes there are of all kinds."""

    removals: tuple[Removal, ...]
    changes: int


def read_state(path: Path) -> list[Resource]:
    """The managed resources of a state; none when nothing was ever applied.

    Raises:
        InputError: when the file is not a shown state.
    """
    return _state(_read(path, "state"))


def show_state(stack: Path) -> list[Resource]:
    """The managed resources of a synthesized stack's state, wherever its backend keeps it.

    Raises:
        UnavailableError: when terraform is missing, or the stack is not there or cannot be reached.
    """
    terraform = shutil.which("terraform")
    if terraform is None:
        raise UnavailableError.of(
            "terraform is not on the PATH.", "install Terraform 1.9 or later, or give the state with --state FILE"
        )
    if not stack.is_dir():
        raise UnavailableError.of(
            "This stack is not synthesized here.",
            "run `cdktf synth` in the repository, or give --state FILE",
            file=stack,
        )
    command = [terraform, f"-chdir={stack}", "show", "-json", "-no-color"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("Error")), "\n".join(lines[:1]))
        raise UnavailableError.of(
            f"terraform cannot show the state: {said}",
            f"run `terraform -chdir={stack} init` as somebody who may read the state bucket, then try again",
            file=stack,
        )
    return _state(_checked(json.loads(done.stdout), "state", str(stack)))


def read_plan(path: Path) -> Plan:
    """What a shown plan removes.

    Raises:
        InputError: when the file is not a shown plan, or the plan has errors.
    """
    values = _read(path, "plan")
    if values.get("errored"):
        raise InputError.of("This plan has errors, so it says nothing.", "make a plan that succeeds", file=path)
    changes = [change for change in values["resource_changes"] if change.get("mode") == "managed"]
    acting = [change for change in changes if change["change"]["actions"] not in (["no-op"], ["read"])]
    return Plan(tuple(_removal(change) for change in acting if "delete" in change["change"]["actions"]), len(acting))


def _state(values: dict[str, Any]) -> list[Resource]:
    return list(_resources((values.get("values") or {}).get("root_module") or {}))


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    for resource in module.get("resources", ()):
        if resource.get("mode") == "managed":
            yield Resource(resource["address"], resource["type"], resource.get("values") or {})
    for child in module.get("child_modules", ()):
        yield from _resources(child)


def _removal(change: dict[str, Any]) -> Removal:
    actions = change["change"]["actions"]
    paths = [".".join(str(step) for step in path) for path in change["change"].get("replace_paths", ())]
    address = change["address"] + (" (deposed)" if "deposed" in change else "")
    resource = Resource(address, change["type"], change["change"].get("before") or {})
    return Removal(resource, "create" in actions, tuple(dict.fromkeys(paths)), change.get("action_reason", ""))


def _read(path: Path, kind: str) -> dict[str, Any]:
    fix = _SHOW.format(" PLANFILE" if kind == "plan" else "")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError.of(f"It cannot be read: {error.strerror}.", fix, file=path) from error
    if content.startswith(_ZIP):
        raise InputError.of("This is a plan as Terraform saves it, not JSON.", fix, file=path)
    try:
        values = json.loads(content)
    except ValueError as error:
        raise InputError.of(f"It is no readable JSON: {error}.", fix, file=path) from error
    return _checked(values, kind, str(path))


def _checked(values: Any, kind: str, place: str) -> dict[str, Any]:
    fix = _SHOW.format(" PLANFILE" if kind == "plan" else "")
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, str):
        raise InputError.of("It is not what `terraform show -json` prints.", fix, file=place)
    if version.split(".")[0] != "1":
        raise InputError.of(
            f"Its format has version {version}, and this tunery reads 1.", "use Terraform 1.x", file=place
        )
    is_plan = "resource_changes" in values or "planned_values" in values
    if is_plan != (kind == "plan"):
        other = "plan" if is_plan else "state"
        raise InputError.of(f"It is a {other}, not a {kind}.", f"give it with --{other}", file=place)
    return {"resource_changes": [], **values}
