"""The page is run: its files are loaded, its commands parsed, its names compared with those of the code."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.bindings import cdktf
from infra.main import main as check_environments
from infra.names import SECRETS, Names
from infra.parts import alerts
from infra.scope import Scope
from infra.settings import Environment
from infra.settings_loader import load_all
from infra.stacks import cluster
from scripts import bootstrap_project
from workloads.cli import main as tunery

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> Iterator[list[str]]:
    """The words after a program's name, wherever the page calls it."""
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line.split(">")[0])
        if words and words[0] == program:
            yield words[1:]


def synthesize(environment: Environment) -> dict[str, Any]:
    resources: dict[str, Any] = cluster.build(cdktf.Testing.app(), environment).to_terraform()["resource"]
    return resources


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/environments with the page's own environment in it."""
    folder = tmp_path / "environments"
    shutil.copytree(ROOT / "configs" / "environments", folder)
    (text,) = [block for block in blocks("yaml") if block.startswith("# configs/environments/lab.yaml")]
    (folder / "lab.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("TUNERY_ENVIRONMENTS", str(folder))
    return folder


def test_adding_an_environment_is_the_one_file_on_the_page(environments: Path) -> None:
    loaded = {environment.name: environment for environment in load_all(environments)}
    assert set(loaded) == {"dev", "staging", "prod", "lab"}
    resources = synthesize(loaded["lab"])
    assert resources["google_container_cluster"]
    names = {pool["name"] for pool in resources["google_container_node_pool"].values()}
    assert {"l4x1-spot", "l4x1-on-demand"} <= names


def test_the_check_on_the_page_accepts_it(environments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = commands("python")
    assert words[:2] == ["-m", "infra.main"]
    assert check_environments(words[2:]) == 0
    assert "lab" in capsys.readouterr().out


def test_adding_a_node_pool_is_the_four_lines_on_the_page(environments: Path) -> None:
    (lines,) = [block for block in blocks("yaml") if block.startswith("  l4x4:")]
    assert len(lines.splitlines()) == 4
    path = environments / "dev.yaml"
    (before,) = load_all(environments, ["dev"])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\npools:\n", f"\npools:\n{lines}", 1), encoding="utf-8")
    (after,) = load_all(environments, ["dev"])
    assert set(after.pools) - set(before.pools) == {"l4x4"}

    old, new = synthesize(before), synthesize(after)
    added = {kind: set(new[kind]) - set(old.get(kind, {})) for kind in new}
    assert {kind: ids for kind, ids in added.items() if ids} == {
        "google_container_node_pool": {"node-pool-l4x4-spot", "node-pool-l4x4-on-demand"}
    }
    assert all(set(old[kind]) <= set(new[kind]) for kind in old), "something else would be destroyed"


def test_the_bootstrap_commands_on_the_page_are_accepted(
    environments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = list(commands("scripts/bootstrap"))
    assert ["lab", "--dry-run"] in calls
    for words in calls:
        assert bootstrap_project.main([*dict.fromkeys([*words, "--dry-run"])]) == 0, words
    assert "tunery-lab-deployer" in capsys.readouterr().out


def test_every_secret_is_given_a_value_before_the_platform_is_deployed(environments: Path) -> None:
    (lab,) = load_all(environments, ["lab"])
    given = [words[3] for words in commands("gcloud") if words[:3] == ["secrets", "versions", "add"]]
    assert given == [Names(lab).secret(name) for name in SECRETS]
    assert (
        PAGE.index("cdktf deploy cluster-lab\n")
        < PAGE.index(given[0])
        < PAGE.index("cdktf deploy cluster-lab platform-lab")
    )


def test_every_stack_on_the_page_exists(environments: Path) -> None:
    names = [Names(environment) for environment in load_all(environments)]
    stacks = {stack for each in names for stack in (each.cluster_stack, each.platform_stack)}
    for words in commands("scripts/cdktf"):
        assert words[0] in {"deploy", "diff", "destroy"}
        assert set(words[1:]) <= stacks, words
    for folder in re.findall(r"cdktf\.out/stacks/([\w-]+)", PAGE):
        assert folder in stacks


def test_every_tunery_command_on_the_page_exists(capsys: pytest.CaptureFixture[str]) -> None:
    calls = list(commands("tunery"))
    assert calls
    for words in calls:
        verbs = [word for word in words[:2] if not word.startswith("-")]
        with pytest.raises(SystemExit) as end:
            tunery.main([*verbs, "--help"])
        assert end.value.code == 0, words
        printed = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert option in printed, words


def test_every_alert_is_explained(environments: Path) -> None:
    (prod,) = load_all(environments, ["prod"])
    stack = cdktf.TerraformStack(cdktf.Testing.app(), "stack")
    made = [alert.name for alert in alerts.catalogue(Scope(stack, prod, Names(prod)))]
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, flags=re.MULTILINE) == made


def test_every_setting_on_the_page_exists() -> None:
    keys = re.findall(r"`((?:cluster|builds|budget|alerts|storage|pools)\.[\w.]+)", PAGE)
    assert keys
    schema = Environment.model_json_schema()
    for key in keys:
        here: Any = schema
        for part in key.split("."):
            here = _of(here, part, schema["$defs"])
            assert here is not None, key


def _of(schema: dict[str, Any], part: str, definitions: dict[str, Any]) -> dict[str, Any] | None:
    for each in [schema, *schema.get("anyOf", [])]:
        if "$ref" in each:
            each = definitions[each["$ref"].rsplit("/", 1)[1]]
        # Pools and teams have names of their own choosing; POOL stands for one.
        named = [*each.get("patternProperties", {}).values(), each.get("additionalProperties")]
        for entry in (each.get("properties", {}).get(part), *named):
            if isinstance(entry, dict):
                return entry
    return None


def test_the_yaml_on_the_page_is_yaml() -> None:
    assert all(isinstance(yaml.safe_load(block), dict) for block in blocks("yaml"))
