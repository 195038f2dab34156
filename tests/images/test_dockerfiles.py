"""What is true of Dockerfiles and locks before anything is built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import check_images, image_arguments, policy
from scripts.lock_images import LOCKS, requirements
from workloads import doctor
from workloads.engines.pushed_image import TITLE, USER
from workloads.errors import InputError
from workloads.images import IMAGES
from workloads.render.pods import USER_ID

ALL = (*IMAGES, "board")
DEEPSPEED_OF_LLAMA_FACTORY = Version("0.18.4")
"""The newest that LLaMA-Factory 0.9.5 allows. Source: its requirements/deepspeed.txt, which no metadata carries."""


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A copy of what is checked."""
    for folder in ("images", "requirements"):
        shutil.copytree(repository / folder, tmp_path / folder)
    (tmp_path / "configs").mkdir()
    shutil.copy(repository / check_images.LOCK, tmp_path / check_images.LOCK)
    return tmp_path


def locked(*names: str) -> dict[str, Version]:
    lines = [line for name in names for line in requirements((LOCKS / f"{name}.txt").read_text())]
    return {Requirement(line).name: Version(line.partition("==")[2].split()[0]) for line in lines}


def test_dockerfiles_and_locks_agree(repository: Path) -> None:
    assert check_images.check(repository) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("images/trainer/Dockerfile", "12.4.1-base", "12.6.3-base", "The base is nvidia/cuda:12.6.3-base-ubuntu22.04"),
        ("images/trainer/Dockerfile", "12.4.1-base", "12.6.3-base", "The bases have different CUDA"),
        ("images/server/Dockerfile", "12.4.1", "13.0.1", "has torch for CUDA 12"),
        ("images/server/Dockerfile", "PYTHON_VERSION=3.11", "PYTHON_VERSION=3.13", "its lock is for Python 3.11"),
        ("images/stager/Dockerfile", "python:3.11", "python:3.12", "its lock is for Python 3.11"),
        ("images/server/Dockerfile", "AS torch", "AS torch28", "differs from images/trainer/Dockerfile"),
        ("requirements/torch.txt", "torch==2.9.1", "torch==2.8.0", "torch is 2.8.0 here and 2.9.1"),
        ("requirements/trainer.txt", "transformers==5", "transformers==4", "in requirements/all.txt"),
        ("requirements/server.txt", "pydantic==2.12.3", "pydantic==2.11.0", "pydantic is 2.11.0 here and 2.12.3"),
        ("requirements/all.txt", "nvidia-nccl-cu12==", "nvidia-gloo-cu12==", "missing in requirements/torch.txt"),
    ],
)
def test_a_contradiction_is_found_with_its_line(tree: Path, file: str, old: str, new: str, said: str) -> None:
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    found = [problem for problem in check_images.check(tree) if said in problem.message]
    assert found
    assert all(problem.file and problem.line and problem.fix for problem in found)


def test_what_torch_asks_for_is_what_is_locked() -> None:
    """torch's own metadata: it names the CUDA libraries that it was built with, to the version."""
    found = locked("torch")
    assert found["torch"] == Version(metadata.version("torch").partition("+")[0])
    linux: dict[str, Any] = {
        **default_environment(),
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    wanted = [Requirement(each) for each in metadata.requires("torch") or []]
    cuda = [each for each in wanted if each.name.startswith("nvidia-") and each.marker and each.marker.evaluate(linux)]
    assert len(cuda) >= 14
    for each in cuda:
        assert each.specifier.contains(found[each.name]), each


def asked_of(package: str) -> Iterator[Requirement]:
    plain: dict[str, Any] = {**default_environment(), "extra": ""}
    for each in map(Requirement, metadata.requires(package) or []):
        if each.marker is None or each.marker.evaluate(plain):
            yield each


def test_the_trainer_keeps_llama_factorys_bounds() -> None:
    found = locked("torch", "trainer")
    assert found["llamafactory"] == Version("0.9.5") == Version(metadata.version("llamafactory"))
    asked = list(asked_of("llamafactory"))
    assert {"transformers", "peft", "trl", "accelerate", "datasets", "torch"} <= {each.name for each in asked}
    for each in asked:
        assert each.specifier.contains(found[canonicalize_name(each.name)]), each
    assert found["deepspeed"] <= DEEPSPEED_OF_LLAMA_FACTORY
    assert "vllm" not in found  # it has an image of its own, with the transformers that it needs


def test_every_package_of_the_trainer_has_what_it_asks_for() -> None:
    """The metadata of all that is installed here in the locked version, which is all but what needs a GPU."""
    found = locked("torch", "trainer")
    here = {name for name in found if _is_installed(name, found[name])}
    assert len(here) > 0.9 * len(found)
    broken = [
        f"{name} wants {each}, and {version} is locked"
        for name in sorted(here)
        for each in asked_of(name)
        for version in [found.get(canonicalize_name(each.name))]
        if version is None or not each.specifier.contains(version, prereleases=True)
    ]
    assert broken == []


def _is_installed(name: str, version: Version) -> bool:
    try:
        return Version(metadata.version(name).partition("+")[0]) == version
    except metadata.PackageNotFoundError:
        return False


def test_the_server_has_a_transformers_of_its_own_and_the_trainers_torch() -> None:
    server, trainer = locked("torch", "server"), locked("torch", "trainer")
    assert server["transformers"] < Version("5") <= trainer["transformers"]
    assert server["torch"] == trainer["torch"]


def test_the_stager_is_small() -> None:
    assert not {"torch", "transformers", "llamafactory", "numpy", "pyarrow"} & set(locked("stager"))
    assert len(locked("stager")) < 70


@pytest.mark.parametrize("image", ALL)
def test_an_image_ships_what_pods_expect(repository: Path, image: str) -> None:
    text = (repository / "images" / image / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert f"USER {USER}" in final
    assert f"{USER_ID}:{USER_ID}" == USER
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in final
    assert f"{TITLE}=tunery-{image}" in final
    assert f"TUNERY_IMAGE={image}" in final
    assert set(doctor.REQUIRED) == set(ALL)
    # Secrets and indices are for the stages that are thrown away; what is shipped is copied out of them.
    assert "secret" not in final
    assert "INDEX" not in final


@pytest.mark.parametrize("image", IMAGES)
def test_code_is_the_last_layer(repository: Path, image: str) -> None:
    text = (repository / "images" / image / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    layers = re.findall(r"^(?:RUN|COPY --from=(\w+)|COPY)", final, re.MULTILINE)
    assert layers[0] == ""
    assert layers[-2:] == ["packages", "code"]


def test_arguments_name_bases_by_digest(tree: Path) -> None:
    lock = tree / check_images.LOCK
    digest = f"sha256:{'a' * 64}"
    lock.write_text(lock.read_text().replace("null", f'"{digest}"'))
    environ = {"PACKAGE_INDEX": "https://artifactory.example.com/api/pypi/pypi/simple", "HOME": "/nowhere"}
    found = image_arguments.arguments("trainer", lock, "mirror.example.com/hub", environ)
    assert found == {
        "BASE": f"mirror.example.com/hub/nvidia/cuda@{digest}",
        "BUILD_BASE": f"mirror.example.com/hub/nvidia/cuda@{digest}",
        "PACKAGE_INDEX": environ["PACKAGE_INDEX"],
    }


def test_a_base_without_digest_is_not_built_on(tree: Path) -> None:
    lock = tree / check_images.LOCK
    lock.write_text(re.sub(r'"sha256:\w+"', "null", lock.read_text()))
    with pytest.raises(InputError, match=r"bases\.python\.digest: The base library/python:3\.11"):
        image_arguments.arguments("stager", lock, "docker.io", {})
    with pytest.raises(InputError, match="Did you mean 'stager'"):
        image_arguments.arguments("stagr", lock, "docker.io", {})


def test_arguments_are_written_for_every_image(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tree / check_images.LOCK
    lock.write_text(lock.read_text().replace("null", f'"sha256:{"a" * 64}"'))
    monkeypatch.setenv("TUNERY_IMAGES", str(lock))
    assert image_arguments.main(["--bases", "hub/", "--to", str(tree / "build")]) == 0
    assert {file.name for file in (tree / "build").iterdir()} == {f"{name}.arguments" for name in ALL}
    assert (tree / "build" / "stager.arguments").read_text().startswith("BASE=hub/library/python@sha256:")


def test_scripts_of_images_pass_shellcheck(repository: Path) -> None:
    scripts = [path for path in (repository / "images").iterdir() if path.is_file() and not path.suffix]
    scripts.append(repository / "scripts" / "build_image")
    program = shutil.which("shellcheck")
    if program is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("shellcheck is not installed; fix: apt-get install shellcheck")
    done = subprocess.run([program, *map(str, scripts)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", ALL)
def test_the_policy_sees_the_bases(repository: Path, image: str) -> None:
    text = policy.expanded((repository / "images" / image / "Dockerfile").read_text())
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert not [base for base in bases if "$" in base]
    assert ":" in bases[-1]


def test_a_compiler_is_shipped_only_where_and_while_triton_needs_one(repository: Path) -> None:
    driver = Path(str(metadata.distribution("triton").locate_file("triton/backends/nvidia/driver.py")))
    assert "mod = compile_module_from_src(" in driver.read_text(), "take the compiler out of trainer and server"
    packages = {
        image: re.findall(r"/mnt/prepare-base *(.*)", (repository / "images" / image / "Dockerfile").read_text())
        for image in IMAGES
    }
    assert packages == {"stager": [""], "trainer": ["gcc libc6-dev"], "server": ["gcc libc6-dev"]}


@pytest.mark.parametrize("image", IMAGES)
def test_what_the_wheel_is_made_of_is_copied(repository: Path, image: str) -> None:
    """A file that the wheel takes from elsewhere in the repository is a file that the build has to have."""
    built = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = {*built["packages"], *built.get("force-include", {}), "pyproject.toml", "README.md"}
    text = (repository / "images" / image / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert sources <= copied
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert all(f"!{source}" in ignored for source in sources)
