"""Finds where Dockerfiles and locks contradict each other: python -m scripts.check_images [--json]."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.image_arguments import BASES
from scripts.lock_images import EXTRAS, PYTHON, own_packages, package, torch_packages
from scripts.setup import ROOT
from workloads.errors import ExitCode, Problem
from workloads.storage.atomic import read_json

LOCK = "configs/images.lock.json"
_CUDA = re.compile(r"nvidia/cuda:(\d+)\.(\d+)\.\d+-")
_RELOCK = "make lock"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, for messages; ``number`` counts from 1."""

    file: str
    number: int
    text: str

    def problem(self, message: str, fix: str, key: str | None = None) -> Problem:
        """A problem at this line."""
        return Problem(message, fix, self.file, key, self.number)


def check(root: Path = ROOT) -> list[Problem]:
    """Every contradiction between images/*/Dockerfile, requirements/*.txt and configs/images.lock.json."""
    bases = {name: f"{each['image']}:{each['tag']}" for name, each in read_json(root / LOCK)["bases"].items()}
    locks = {name: _lock(root, name) for name in ("all", "torch", *EXTRAS)}
    problems = list(_versions(locks))
    for image, arguments in BASES.items():
        lines = _lines(root, f"images/{image}/Dockerfile")
        problems += _bases(lines, {argument: bases[name] for argument, name in arguments.items()})
        problems += _cuda(lines, locks["torch"])
        problems += _python(lines)
    problems += _shared_stages(root)
    return problems


def _lines(root: Path, name: str) -> list[Line]:
    text = (root / name).read_text(encoding="utf-8")
    return [Line(name, number, line) for number, line in enumerate(text.splitlines(), start=1)]


def _lock(root: Path, name: str) -> dict[str, Line]:
    """Package -> the line of requirements/NAME.txt that pins it for the images' Python and platform."""
    found: dict[str, Line] = {}
    for line in _lines(root, f"requirements/{name}.txt"):
        if re.match(r"[A-Za-z0-9]", line.text) and _meant(line.text):
            found[package(line.text)] = line
    return found


def _meant(requirement: str) -> bool:
    """Whether a line of a lock for all platforms is meant for Python 3.11 on Linux."""
    marker = requirement.partition(";")[2].strip(" \\")
    if not marker:
        return True
    from packaging.markers import Marker

    linux = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "platform_machine": "x86_64"}
    return Marker(marker).evaluate({**linux, "sys_platform": "linux", "os_name": "posix"})


def _version(line: Line) -> str:
    return re.split(r"[ ;\\]", line.text.partition("==")[2])[0]


def _versions(locks: Mapping[str, Mapping[str, Line]]) -> Iterator[Problem]:
    """Versions that differ from those of a local installation, where they must not."""
    everything = locks["all"]
    torch = torch_packages(line.text for line in everything.values())
    for image in ("torch", *EXTRAS):
        for name, line in locks[image].items():
            same = image != "server" or name in torch or name in own_packages(EXTRAS["server"])
            if same and name in everything and _version(line) != _version(everything[name]):
                here, there = _version(line), _version(everything[name])
                yield line.problem(f"{name} is {here} here and {there} in requirements/all.txt.", _RELOCK, name)
    for name in sorted(torch - set(locks["torch"])):
        yield everything[name].problem(f"{name} is missing in requirements/torch.txt.", _RELOCK, name)


def _bases(lines: list[Line], wanted: Mapping[str, str]) -> Iterator[Problem]:
    for argument, base in wanted.items():
        for line in lines:
            named = re.fullmatch(rf"ARG {argument}=(\S+)", line.text)
            if named and named[1] != base.removeprefix("library/"):
                yield line.problem(
                    f"The base is {named[1]} here and {base} in {LOCK}.", "write the same in both", argument
                )


def _cuda(lines: list[Line], torch: Mapping[str, Line]) -> Iterator[Problem]:
    """CUDA runs code of its own major version only; within one, an older driver and an older base will do."""
    runtime = next(line for name, line in torch.items() if name.startswith("nvidia-cuda-runtime"))
    major = _version(runtime).partition(".")[0]
    found = {match[0]: line for line in lines if (match := _CUDA.search(line.text))}
    for line in found.values():
        match = _CUDA.search(line.text)
        if match and match[1] != major:
            message = f"The base has CUDA {match[1]}.{match[2]}, and {runtime.file} has torch for CUDA {major}."
            yield line.problem(message, f"take a base with CUDA {major}, or lock a torch for CUDA {match[1]}")
    if len(found) > 1:
        line = next(iter(found.values()))
        yield line.problem(
            f"The bases have different CUDA: {', '.join(found)}.", "take the same CUDA to build and to run"
        )


def _python(lines: list[Line]) -> Iterator[Problem]:
    for line in lines:
        named = re.fullmatch(r"ARG (?:PYTHON_VERSION=|BASE=python:)(\d+\.\d+)\S*", line.text)
        if named and named[1] != PYTHON:
            message = f"The image has Python {named[1]}, and its lock is for Python {PYTHON}."
            yield line.problem(message, "change PYTHON in scripts/lock_images.py and `make lock`")


def _shared_stages(root: Path) -> Iterator[Problem]:
    """Stages up to torch are the same text in trainer and server: only then do both have the same large layer."""
    trainer, server = (_until_packages(_lines(root, f"images/{name}/Dockerfile")) for name in ("trainer", "server"))
    for one, other in zip(trainer, server, strict=False):
        if one.text != other.text:
            yield other.problem(f"The line differs from {one.file}:{one.number}.", "write the same in both")
            return
    if len(trainer) != len(server):
        yield server[-1].problem("The stages before packages differ from the trainer's.", "write the same in both")


def _until_packages(lines: list[Line]) -> list[Line]:
    """From the first line that is no comment up to the stage of the packages."""
    texts = [line.text for line in lines]
    start = next(number for number, text in enumerate(texts) if not text.startswith("#"))
    return lines[start : texts.index("FROM tools AS packages")]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    problems = check()
    if "--json" in (sys.argv[1:] if arguments is None else arguments):
        print(json.dumps({"ok": not problems, "problems": [each.as_dict() for each in problems]}, indent=2))
    else:
        for problem in problems:
            print(problem, file=sys.stderr)
    return int(ExitCode.INPUT if problems else ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
