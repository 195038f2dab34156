"""What must hold for the tree as a whole."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 git is where PATH says
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_locks_are_hashed_and_name_no_registry() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = _text(path)
        assert "://" not in text, path
        pins = re.findall(r"^[A-Za-z0-9._\[\]-]+==\S+.*\\$", text, re.MULTILINE)
        assert pins, path
        assert text.count("--hash=sha256:") >= len(pins), path


SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"hf_[A-Za-z0-9]{30,}",
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"AIza[0-9A-Za-z_-]{35}",
    r"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{10,}",
)


@pytest.mark.parametrize("pattern", SECRETS)
def test_no_secret_is_committed(pattern: str) -> None:
    found = [path.relative_to(ROOT) for path in _tracked() if re.search(pattern, _text(path))]
    assert found == []


def test_no_path_of_one_machine_is_committed() -> None:
    home = re.compile(r"(^|[^A-Za-z0-9_.])/(home/[a-z]|r[o]ot/|Users/|w[o]rk/)")
    found = [path.relative_to(ROOT) for path in _tracked() if home.search(_text(path))]
    assert found == []


def test_modules_fit_in_the_head() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _tracked()
        if path.suffix == ".py" and "tests" not in path.parts and (lines := _text(path).count("\n")) > 300
    }
    assert long == {}


def test_the_readme_is_short_and_names_the_two_commands() -> None:
    text = _text(ROOT / "README.md")
    assert text.count("\n") <= 150
    assert "make demo" in text
    assert "make test" in text


def test_regenerating_is_refused_in_ci() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "regenerate"], env={"CI": "true", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 64
    assert "CI only compares" in done.stderr
