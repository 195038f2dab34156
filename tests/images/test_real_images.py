"""The stager, built, pushed by digest, locked, pulled back and run for real; `make test-images` starts it."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_workshop.workshop import INSTALL, PROGRAMS, Workshop, copied_context, debian, running_registry

from scripts import image_arguments, lock_image
from scripts.setup import ROOT
from workloads.cli.main import main as tunery

pytestmark = pytest.mark.images

COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "tcc", "nvcc", "ld", "as", "make", "cmake", "rustc", "go")


@dataclass(frozen=True)
class Built:
    """The stager in the registry."""

    workshop: Workshop
    context: Path
    arguments: list[str]
    lock: Path
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.workshop.registry}/team/stager@{self.digest}"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"images are built here as root with {', '.join(PROGRAMS)}; fix: {INSTALL}")
    folder = tmp_path_factory.mktemp("workshop")
    with running_registry(folder / "registry") as registry:
        made = Workshop(folder, registry)
        yield made
        made.buildah("rmi", "--all", "--force")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stager(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built on a stand-in base that is named by digest like the real one, pushed, and locked."""
    lock = tmp_path_factory.mktemp("lock") / "images.lock.json"
    content = json.loads((ROOT / "configs" / "images.lock.json").read_text())
    base = content["bases"]["python"]
    workshop.push_base(debian(ROOT / ".cache" / "images"), base["image"], base["tag"])
    content["bases"] = {"python": base}
    lock.write_text(json.dumps(content))
    context = copied_context(tmp_path_factory.mktemp("context"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNERY_IMAGES", str(lock))
        assert lock_image.main(["--bases", "--from", workshop.registry]) == 0
        given = image_arguments.arguments("stager", lock, workshop.registry, {})
        arguments = [f"{name}={value}" for name, value in given.items()]
        digest = workshop.push(workshop.build("stager", context, arguments), "team/stager:first")
        built = Built(workshop, context, arguments, lock, digest)
        assert lock_image.main(["stager", built.reference]) == 0
    assert json.loads(lock.read_text())["images"]["stager"]["digest"] == digest
    return built


def test_it_runs_as_a_pod_runs_it(stager: Built) -> None:
    probe = (
        "import os; print(os.getuid(), os.getgid(), open('/proc/1/comm').read().strip());"
        "open('/scratch/mine', 'w').write('yes'); open('/opt/theirs', 'w')"
    )
    with stager.workshop.mounted(stager.reference) as root:
        done = stager.workshop.run(root, "python", "-c", probe)
        assert done.stdout.strip() == "10001 10001 tini"
        assert "Read-only file system: '/opt/theirs'" in done.stderr
        checks = stager.workshop.run(root, "tunery", "doctor", "--json", environment=["TUNERY_IMAGE=stager"])
        report = json.loads(checks.stdout)
        assert (report["ok"], checks.returncode) == (True, 0)
        wrong = stager.workshop.run(root, "tunery", "doctor", environment=["TUNERY_IMAGE=trainer"])
        assert wrong.returncode == 64
        assert "The image trainer has no torch." in wrong.stderr
        lost = stager.workshop.run(root, "tunery", "doctor", environment=["TUNERY_GPUS=1"])
        assert lost.returncode == 69


def test_it_fetches_a_model(stager: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, model = tmp_path / "hub", tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "tokenizer.json").write_text("{}")
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    monkeypatch.setenv("TUNERY_HUB", str(hub))
    with pytest.raises(SystemExit) as ended:
        tunery(["import", str(model), "team/tiny"])
    assert ended.value.code == 0
    with stager.workshop.mounted(stager.reference) as root:
        settings = ["TUNERY_HUB=/mnt", "TUNERY_CACHE=/scratch/cache"]
        done = stager.workshop.run(root, "tunery", "fetch", "team/tiny", environment=settings, hub=hub)
    assert done.returncode == 0, done.stderr
    assert "/scratch/cache" in done.stdout


def test_nothing_in_it_compiles_or_makes_others_root(stager: Built) -> None:
    with stager.workshop.mounted(stager.reference) as root:
        files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        assert len(files) > 1000
        assert [path for path in files if path.name in COMPILERS and os.access(path, os.X_OK)] == []
        assert [path for path in files if path.stat().st_mode & 0o6000] == []
        owned = [path for path in (root / "opt").rglob("*") if path.lstat().st_uid == 10001]
    assert owned == []


def test_a_change_of_code_moves_less_than_5_mb(stager: Built) -> None:
    before = stager.workshop.layers("team/stager", stager.digest)
    module = stager.context / "workloads" / "runtime.py"
    module.write_text(module.read_text() + "\nCHANGED = True\n")
    image = stager.workshop.build("stager", stager.context, stager.arguments)
    after = stager.workshop.layers("team/stager", stager.workshop.push(image, "team/stager:second"))
    moved = {digest: size for digest, size in after.items() if digest not in before}
    assert len(moved) == 1
    assert sum(moved.values()) < 5_000_000
    assert sum(after.values()) < 200_000_000


def test_half_of_an_image_is_never_locked(stager: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_IMAGES", str(stager.lock))
    before = stager.lock.read_bytes()
    largest = max(stager.workshop.layers("team/stager", stager.digest).items(), key=lambda item: item[1])[0]
    hexadecimal = largest.removeprefix("sha256:")
    blob = stager.workshop.folder / "registry/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"
    hidden = blob.rename(blob.with_name("hidden"))
    try:
        assert lock_image.main(["stager", stager.reference]) == 69
    finally:
        hidden.rename(blob)
    assert stager.lock.read_bytes() == before
    assert lock_image.main(["stager", stager.reference]) == 0
