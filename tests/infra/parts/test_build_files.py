"""The build files against Google's schema, against a stricter reading of our own, and against the triggers."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cloud_build.schema import load
from cloud_build.substitution import OF_A_PULL_REQUEST, OF_A_PUSH, SubstitutionError, apply, required
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from pydantic import ValidationError

from infra import names as n
from infra.parts import builds
from infra.parts.network import Network
from infra.scope import Scope
from infra.settings import Environment
from scripts.generate_builds import private

FILES = (builds.IMAGES, builds.CONFIGS, builds.CHECKS)
ALL = (*FILES, *(builds.private_file(each) for each in (builds.IMAGES, builds.CONFIGS)))
OWN = {"PROJECT_ID", "BUILD_ID"}


@pytest.fixture
def triggers(environment: Callable[..., Environment], synthesize: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """File name -> the trigger that names it, as Terraform gets it."""

    def made(**settings: Any) -> dict[str, Any]:
        account = SimpleNamespace(id="account", member="serviceAccount:x")
        network = Network(SimpleNamespace(id="network-id"), None, "pods", "services", ())

        def part(scope: Scope) -> object:
            return builds.add(scope, account, account, network)

        source = {"owner": "example", "repository": "llm"}
        found = synthesize(part, environment("dev", builds={"source": source, **settings}))["resource"]
        return {each["filename"]: each for each in found["google_cloudbuild_trigger"].values()}

    return made


def google_schema() -> dict[str, Any]:
    """Google's own description of a build, as JSON Schema: it has types and names, and no required keys."""
    folder = importlib.resources.files("googleapiclient.discovery_cache") / "documents"
    schemas = json.loads((folder / "cloudbuild.v1.json").read_text(encoding="utf-8"))["schemas"]

    def strict(value: Any) -> Any:
        if isinstance(value, list):
            return [strict(each) for each in value]
        if not isinstance(value, dict):
            return value
        made = {key: strict(each) for key, each in value.items() if key not in ("id", "description", "format")}
        if isinstance(value.get("$ref"), str):
            return {"$ref": f"#/definitions/{value['$ref']}"}
        if value.get("type") == "object" and isinstance(value.get("properties"), dict):
            made["properties"] = {key: strict(each) for key, each in value["properties"].items()}
            made["additionalProperties"] = False
        return made

    return {"definitions": strict(schemas), "$ref": "#/definitions/Build"}


@pytest.mark.parametrize("file", ALL)
def test_google_s_schema_knows_every_key(repository: Path, file: str) -> None:
    build = yaml.safe_load((repository / file).read_text())
    validator = Draft4Validator(google_schema())
    assert [error.message for error in validator.iter_errors(build)] == []
    build["steps"][0]["nmae"] = "x"
    assert [error.message for error in validator.iter_errors(build)] != []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("steps", 0, "nmae"), "x", "Extra inputs"),
        (("steps", 0, "args"), "one text", "valid list"),
        (("steps", 1, "id"), "inputs", "two steps"),
        (("steps", 1, "waitFor"), ["later"], "no step before it"),
        (("steps", 1, "secretEnv"), ["OTHER"], "availableSecrets does not have"),
        (("steps", 1, "script"), "echo", "neither args nor entrypoint"),
        (("steps", 1, "dir"), "../..", "below the workspace"),
        (("options", "logging"), "LEGACY", "CLOUD_LOGGING_ONLY"),
        (("options", "pool"), {"name": ""}, "at least 1"),
        (("substitutions", "POOL"), "x", "pattern"),
        (("timeout",), "30m", "pattern"),
    ],
)
def test_our_own_reading_is_strict(
    repository: Path, tmp_path: Path, path: tuple[Any, ...], value: Any, words: str
) -> None:
    build = yaml.safe_load((repository / builds.CONFIGS).read_text())
    place = build
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build))
    with pytest.raises(ValidationError, match=words):
        load(tmp_path / "build.yaml")


@pytest.mark.parametrize("private_pool", [False, True])
def test_triggers_pass_exactly_what_the_files_use(
    repository: Path, triggers: Callable[..., dict[str, Any]], private_pool: bool
) -> None:
    found = triggers(private_pool=private_pool)
    assert len(found) == len(FILES)
    for file, trigger in found.items():
        build = load(repository / file)
        set_by_google = OWN | set(OF_A_PUSH) | (set(OF_A_PULL_REQUEST) if file == builds.CHECKS else set())
        wanted = required(build, repository)
        assert set(trigger["substitutions"]) == wanted - set(build.substitutions) - set_by_google, file
        assert set(build.substitutions) <= wanted, file


def test_the_private_files_differ_in_the_pool_alone(repository: Path) -> None:
    for file in (builds.IMAGES, builds.CONFIGS):
        text = (repository / builds.private_file(file)).read_text()
        assert text == private((repository / file).read_text())
        build, open_one = yaml.safe_load(text), yaml.safe_load((repository / file).read_text())
        assert build["options"].pop("pool") == {"name": "${_POOL}"}
        assert build == open_one


@pytest.mark.parametrize("file", ALL)
def test_every_image_of_a_builder_is_named_by_its_digest(repository: Path, file: str) -> None:
    build = load(repository / file)
    values = (
        dict.fromkeys(required(build, repository), "x") | build.substitutions | {"_REGISTRY": "r.example/p/gke-llm"}
    )
    for step in build.steps:
        assert re.fullmatch(r"[a-z0-9./-]+@sha256:[0-9a-f]{64}", apply(step.name, values))
    digests = [value for value in build.substitutions.values() if "@" in value]
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", value) for value in digests)
    assert len(digests) == len(build.substitutions)


def test_a_builder_has_one_digest_in_all_files(repository: Path) -> None:
    found: dict[str, set[str]] = {}
    for file in ALL:
        for value in load(repository / file).substitutions.values():
            image, _, digest = value.partition("@")
            found.setdefault(image.removeprefix("mirror.gcr.io/"), set()).add(digest)
    assert {image: len(digests) for image, digests in found.items() if len(digests) > 1} == {}


def test_proxies_and_secrets_are_those_of_the_environment(
    repository: Path, environment: Callable[..., Environment]
) -> None:
    names = n.Names(environment("dev"))
    for file in ALL:
        text = (repository / file).read_text() + "".join(
            path.read_text() for path in (repository / "scripts" / "cloudbuild").iterdir()
        )
        for upstream in re.findall(r"_REGISTRY\}?-([a-z]+)", text):
            assert names.remote_address(upstream) == f"{names.registry}-{upstream}"
        secrets = load(repository / file).available_secrets
        for secret in secrets.secret_manager if secrets else []:
            values = {"PROJECT_ID": "p", "_ENVIRONMENT": "dev"}
            name = apply(secret.version_name, values).split("/")[3]
            assert name in {names.secret(each) for each in n.BUILD_SECRETS}


def test_a_pull_request_gets_no_secret(repository: Path) -> None:
    build = load(repository / builds.CHECKS)
    assert build.available_secrets is None
    assert not any(step.secret_env for step in build.steps)


@given(st.text(alphabet="ab$_{}AB1", max_size=12))
def test_a_dollar_sign_is_escaped_or_begins_a_name(text: str) -> None:
    escaped = text.replace("$", "$$")
    assert apply(escaped, {}) == text
    if "$" in text.replace("$$", ""):
        with pytest.raises(SubstitutionError):
            apply(text, {})
