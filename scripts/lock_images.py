"""Writes what each image installs, requirements/{torch,trainer,server,stager}.txt, in the versions of all.txt.

torch and the CUDA libraries that its wheels need are a list of their own: they are a layer that trainer and server
share, and that a newer transformers does not move. The server's transformers is its own; what tunery itself imports
there has the versions of all.txt.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from scripts.setup import ROOT, VENV, index

LOCKS = ROOT / "requirements"
PYTHON = "3.11"
GLIBC = {"trainer": "2_35", "server": "2_35", "stager": "2_36"}
"""Image -> the C library of its base: Ubuntu 22.04 has 2.35, Debian 12 has 2.36."""
EXTRAS = {"trainer": ("train", "cloud", "gpu"), "server": ("cloud",), "stager": ("cloud",)}
_TORCH = re.compile(r"(torch|torchvision|torchaudio|triton|nvidia-[a-z0-9-]+-cu12)")
_HASHES = re.compile(r" \\\n(    --hash=\S+( \\)?\n?)+")


def requirements(text: str) -> list[str]:
    """The requirements of a lock without their hashes, such as ``numpy==2.4.6 ; python_full_version < '3.12'``."""
    return _HASHES.sub("\n", text).split("\n")[:-1]


def package(requirement: str) -> str:
    """The package's name."""
    return re.split(r"[<>=!~ \[;]", requirement)[0].lower()


def entries(text: str) -> dict[str, str]:
    """Package -> its lines, of a lock for one platform."""
    found = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    return {package(entry): entry for entry in found}


def torch_packages(everything: Iterable[str]) -> set[str]:
    """Of requirements, the packages of torch and the CUDA libraries that its wheels bring."""
    return {package(each) for each in everything if _TORCH.fullmatch(package(each))}


def own_packages(extras: Iterable[str]) -> set[str]:
    """What pyproject.toml itself names, for tunery and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = list(project["dependencies"])
    for extra in extras:
        named += project["optional-dependencies"][extra]
    return {package(each) for each in named}


def _compile(image: str, constraints: Path) -> dict[str, str]:
    command = [VENV / "uv" / "bin" / "uv", "pip", "compile", "-q", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--python-version", PYTHON, "--python-platform", f"x86_64-manylinux_{GLIBC[image]}"]
    for extra in EXTRAS[image]:
        command += ["--extra", extra]
    command += ["-c", constraints, ROOT / "pyproject.toml"]
    if (LOCKS / f"{image}.in").is_file():
        command.append(LOCKS / f"{image}.in")
    environment = {**os.environ, **index()}
    done = subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return entries(done.stdout)


def main() -> int:
    """Writes the files."""
    everything = requirements((LOCKS / "all.txt").read_text(encoding="utf-8"))
    torch_set = torch_packages(everything)
    written: dict[str, dict[str, str]] = {}
    for image, extras in EXTRAS.items():
        own = own_packages(extras)
        kept = [each for each in everything if image != "server" or package(each) in torch_set | own]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
            constraints.write("\n".join(kept))
            constraints.flush()
            found = _compile(image, Path(constraints.name))
        torch = {name: lines for name, lines in found.items() if name in torch_set}
        if torch and written.setdefault("torch", torch) != torch:
            raise SystemExit("lock_images: trainer and server resolve to different builds of torch")
        written[image] = {name: lines for name, lines in found.items() if name not in torch}
    for name, lines in written.items():
        (LOCKS / f"{name}.txt").write_text("\n".join(lines.values()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
