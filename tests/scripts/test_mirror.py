from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings_loader import load_all
from scripts import mirror_list
from scripts.generate_infra import synthesize
from scripts.mirror_items import INDEX, ROOT, TERRAFORM, Item, items

ENVIRONMENTS = {each.name: each for each in load_all(ROOT / "configs" / "environments")}
_ADDRESS = re.compile(r"\b(?:https?|oci|docker|git|ssh)://(?:[^@/\s\"']*@)?([A-Za-z0-9.-]+)")
_IMAGE = re.compile(
    r"(?<![\w./@-])((?:[a-z0-9-]+\.)+[a-z]{2,})(?::\d+)?/[a-z0-9._/-]+(?:@sha256:[0-9a-f]{64}|:[\w][\w.-]*)"
)
_IMAGE_KEYS = ("image", "repository", "registry", "uri")


@pytest.fixture(scope="module")
def stacks() -> dict[str, dict[str, Any]]:
    return {name: dict(found) for name, found in synthesize().items()}


@pytest.fixture(scope="module")
def listed(stacks: dict[str, dict[str, Any]]) -> dict[str, list[Item]]:
    return {name: items(environment, stacks[name]) for name, environment in ENVIRONMENTS.items()}


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Key and text of everything in a document; YAML and JSON inside of a text are looked into."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, key)
    elif isinstance(value, str):
        yield key, value
        if value.startswith("{") or ("\n" in value and ":" in value):
            inner = _yaml(value)
            if isinstance(inner, dict | list):
                yield from texts(inner)


def references(value: Any) -> Iterator[str]:
    """The hosts that a document names as addresses or as registries of images."""
    for key, text in texts(value):
        yield from _ADDRESS.findall(text)
        yield from _IMAGE.findall(text)
        first = text.partition("/")[0]
        if key in _IMAGE_KEYS and "." in first and "$" not in first and "://" not in text:
            yield first


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def outside(value: Any, found: list[Item]) -> set[str]:
    """The hosts of a document that the list does not have; what is inside the cluster is not elsewhere."""
    known = [each.host for each in found] + ["kubernetes.default.svc", "*.svc", "*.svc.cluster.local", "localhost"]
    return {host for host in references(value) if not any(fnmatchcase(host, pattern) for pattern in known)}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_synthesized_refers_elsewhere(
    name: str, stacks: dict[str, dict[str, Any]], listed: dict[str, list[Item]]
) -> None:
    assert len(set(references(stacks[name]))) > 5
    assert outside(stacks[name], listed[name]) == set()


def test_nothing_rendered_refers_elsewhere(listed: dict[str, list[Item]]) -> None:
    goldens = sorted((ROOT / "tests" / "goldens").rglob("*.yaml"))
    assert len(goldens) > 5
    for path in goldens:
        known = next((found for name, found in listed.items() if path.name.startswith(name)), listed["dev"])
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert outside(document, known) == set(), path


@pytest.mark.parametrize(
    "stranger",
    [
        {"image": "quay.example/x/y:1"},
        {"args": ["--from=https://elsewhere.example/x"]},
        {"values": ["a:\n  b:\n    repository: elsewhere.example/argo/x\n"]},
        {"script": "curl https://user:secret@elsewhere.example/x"},
        {"spec": [{"container": {"image": f"registry.example/x@sha256:{'a' * 64}"}}]},
    ],
)
def test_a_stranger_is_found(stranger: Any, listed: dict[str, list[Item]]) -> None:
    assert len(outside(stranger, listed["dev"])) == 1


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_image_of_the_controllers_values_is_listed(
    name: str, stacks: dict[str, dict[str, Any]], listed: dict[str, list[Item]]
) -> None:
    """Repositories in the values of charts, without the proxy's own part, are images of the list."""
    names = {each.name for each in listed[name] if each.kind == "image"}
    found = {
        proxied[1]
        for key, text in texts(stacks[name])
        if key == "repository" and (proxied := re.fullmatch(r"\S+/gke-llm-[a-z0-9]+/(\S+)", text))
    }
    assert len(found) >= 2
    assert found <= names


def test_versions_are_those_of_their_own_files(listed: dict[str, list[Item]]) -> None:
    prod = listed["prod"]
    assert {(each.name, each.version) for each in prod if each.kind == "provider"} == {
        ("hashicorp/google", "6.50.0"),
        ("hashicorp/helm", "3.1.1"),
    }
    wheels = [each for each in prod if each.kind == "wheel" and each.used_by == "all.txt"]
    lock = (ROOT / "requirements" / "all.txt").read_text(encoding="utf-8")
    assert len(wheels) == len(re.findall(r"^[a-z0-9].*==", lock, re.MULTILINE))
    assert sum(len(each.digests) for each in wheels) == lock.count("--hash=")
    npm = [each for each in prod if each.kind == "npm"]
    assert all(re.fullmatch(r"sha\d+-\S+", each.digests[0]) for each in npm)
    assert len(npm) > 300


def test_an_environment_without_builds_needs_no_builders(listed: dict[str, list[Item]]) -> None:
    assert not any("cloudbuild" in each.used_by for each in listed["dev"])
    assert any("cloudbuild" in each.used_by for each in listed["prod"])


def test_what_skopeo_gets_it_can_read(listed: dict[str, list[Item]], tmp_path: Path) -> None:
    text = mirror_list.skopeo(listed["prod"])
    hosts = yaml.safe_load(text)
    assert set(hosts) >= {"docker.io", "quay.io", "ghcr.io", "registry.k8s.io"}
    versions = [version for host in hosts.values() for each in host["images"].values() for version in each]
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}|[\w][\w.-]*", version) for version in versions)
    if shutil.which("skopeo") is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("skopeo is missing; fix: apt-get install skopeo")
    file, policy = tmp_path / "images.yaml", tmp_path / "policy.json"
    file.write_text(yaml.safe_dump({"localhost:1": {"tls-verify": False, **hosts["quay.io"]}}))
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    command = ["skopeo", "--policy", str(policy), "sync", "--src", "yaml", "--dest", "dir", str(file), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # It reads the file and asks for the first image, which nobody serves here.
    assert "localhost:1/argoproj/" in done.stderr
    assert "connection refused" in done.stderr


def test_oras_gets_a_source_and_a_target_a_line(listed: dict[str, list[Item]]) -> None:
    lines = [line.split(" ") for line in mirror_list.oras(listed["prod"], "mirror.example/x").splitlines()]
    assert all(len(line) == 2 for line in lines)
    targets = dict(lines)
    assert targets["quay.io/argoproj/argoexec:v4.0.5"] == "mirror.example/x/argoproj/argoexec:v4.0.5"
    charts = "europe-west4-docker.pkg.dev/example-llm-prod/gke-llm-charts"
    assert targets["registry.k8s.io/kueue/charts/kueue:0.17.1"] == f"{charts}/kueue:0.17.1"


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert mirror_list.main(["prod"]) == 0
    table = capsys.readouterr().out
    assert f"provider  {TERRAFORM}" in table
    assert re.search(rf"wheel +{INDEX} +\d+ packages", table)
    assert mirror_list.main(["prod", "--json"]) == 0
    assert {each["kind"] for each in json.loads(capsys.readouterr().out)} == {
        "service",
        "provider",
        "chart",
        "image",
        "artifact",
        "wheel",
        "npm",
    }
    assert mirror_list.main(["nowhere"]) == 64
    assert "known: dev" in capsys.readouterr().err
    assert mirror_list.main(["prod", "--oras"]) == 64
    assert "--to HOST/PATH" in capsys.readouterr().err
