"""An image gets into the lock only when its registry has every byte of it; real pushes are in tests/images."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts import lock_image
from workloads.engines.image_registry import Registries
from workloads.engines.pushed_image import base_digest, lock, read_back
from workloads.errors import InputError, TuneryError, UnavailableError

HOST = "127.0.0.1:1"
LAYERS = (b"the base", b"the packages", b"the code")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Shelf:
    """What a registry holds, by the path after the repository's name."""

    def __init__(self, title: str = "tunery-stager", user: str = "10001:10001") -> None:
        self.held: dict[str, bytes] = {}
        config = {"config": {"User": user, "Labels": {"org.opencontainers.image.title": title}}}
        manifest = {
            "config": self.put("blobs", json.dumps(config).encode()),
            "layers": [self.put("blobs", layer) for layer in LAYERS],
        }
        self.image = self.put("manifests", json.dumps(manifest).encode())
        self.digest: str = self.image["digest"]

    def put(self, kind: str, content: bytes) -> dict[str, Any]:
        self.held[f"{kind}/{digest_of(content)}"] = content
        return {"digest": digest_of(content), "size": len(content)}

    def index(self, *, images: int = 1) -> str:
        """Wraps the image as BuildKit does: beside it what describes it."""
        about = {"config": self.put("blobs", b"{}"), "layers": [self.put("blobs", b"an SBOM")]}
        described = self.put("manifests", json.dumps(about).encode())
        described["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
        entries = [self.image] * images + [described]
        return str(self.put("manifests", json.dumps({"manifests": entries}).encode())["digest"])

    def registries(self) -> Registries:
        def answer(request: httpx.Request) -> httpx.Response:
            content = self.held.get("/".join(request.url.path.split("/")[-2:]))
            if content is None:
                return httpx.Response(404, json={"errors": [{"code": "BLOB_UNKNOWN"}]})
            if request.method == "HEAD":
                return httpx.Response(200, headers={"Content-Length": str(len(content))})
            return httpx.Response(200, content=content)

        return Registries(lambda _: None, httpx.MockTransport(answer))


@pytest.fixture
def lock_file(repository: Path, tmp_path: Path) -> Path:
    file = tmp_path / "images.lock.json"
    shutil.copy(repository / "configs" / "images.lock.json", file)
    return file


def test_a_whole_image_is_locked(lock_file: Path) -> None:
    shelf = Shelf()
    found = lock(shelf.registries(), "stager", f"{HOST}/team/stager@{shelf.digest}", lock_file)
    images = json.loads(lock_file.read_text())["images"]
    assert images["stager"] == {"repository": "stager", "digest": shelf.digest}
    assert images["trainer"]["digest"] is None
    layers = sum(map(len, LAYERS))
    assert found.size > layers


def test_what_describes_an_image_is_no_image_and_counts_for_nothing() -> None:
    shelf = Shelf()
    plain = read_back(shelf.registries(), f"{HOST}/stager@{shelf.digest}")
    described = read_back(shelf.registries(), f"{HOST}/stager@{shelf.index()}")
    assert (described.size, described.labels, described.user) == (plain.size, plain.labels, plain.user)
    with pytest.raises(InputError, match="is 2 images"):
        read_back(shelf.registries(), f"{HOST}/stager@{shelf.index(images=2)}")


def every_part(shelf: Shelf) -> list[str]:
    return sorted(shelf.held)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("harm", ["missing", "cut short"])
def test_an_image_that_is_not_whole_is_never_locked(number: int, harm: str, lock_file: Path) -> None:
    shelf = Shelf()
    index = shelf.index()
    parts = every_part(shelf)
    assert len(parts) == 9  # 3 layers, 2 configs, an SBOM, 2 manifests, the index
    part = [each for each in parts if not each.endswith(index)][number]
    if harm == "missing":
        del shelf.held[part]
    else:
        shelf.held[part] = shelf.held[part][:-1]
    before = lock_file.read_bytes()
    with pytest.raises(UnavailableError, match="is not whole"):
        lock(shelf.registries(), "stager", f"{HOST}/stager@{index}", lock_file)
    assert lock_file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "reference", "shelf", "said"),
    [
        ("stager", "{host}/stager:latest", Shelf(), "names no image by digest"),
        ("stager", "{host}/llama-factory@{digest}", Shelf(), "is not in the repository stager"),
        ("stager", "{host}/stager@{digest}", Shelf(title="tunery-trainer"), "is titled 'tunery-trainer'"),
        ("stager", "{host}/stager@{digest}", Shelf(user=""), "works as user ''"),
        ("stagger", "{host}/stager@{digest}", Shelf(), "has no image 'stagger'"),
    ],
)
def test_another_image_is_never_locked(name: str, reference: str, shelf: Shelf, said: str, lock_file: Path) -> None:
    before = lock_file.read_bytes()
    with pytest.raises(InputError, match=said):
        lock(shelf.registries(), name, reference.format(host=HOST, digest=shelf.digest), lock_file)
    assert lock_file.read_bytes() == before


def test_bases_are_locked_all_or_none(lock_file: Path) -> None:
    shelf = Shelf()
    manifest = shelf.held[f"manifests/{shelf.digest}"]
    bases = json.loads(lock_file.read_text())["bases"]
    for base in bases.values():
        shelf.held[f"manifests/{base['tag']}"] = manifest
    assert base_digest(shelf.registries(), HOST, "nvidia/cuda", bases["cuda"]["tag"]) == shelf.digest
    del shelf.held[f"manifests/{bases['python']['tag']}"]
    before = lock_file.read_bytes()
    with pytest.raises(TuneryError, match="has no library/python"):
        lock_image.lock_bases(shelf.registries(), lock_file, HOST, "")
    assert lock_file.read_bytes() == before
    shelf.held[f"manifests/{bases['python']['tag']}"] = manifest
    lock_image.lock_bases(shelf.registries(), lock_file, HOST, "")
    assert {base["digest"] for base in json.loads(lock_file.read_text())["bases"].values()} == {shelf.digest}


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    run: Callable[[list[str]], int] = lock_image.main
    assert run([]) == 64
    assert run(["stager", "nowhere"]) == 64
    assert "names no image by digest" in capsys.readouterr().err
