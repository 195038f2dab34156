"""Pages that name things of the code or of other projects: the names are there, and the examples are accepted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scripts import mpi_example
from scripts.generate_render import case
from workloads.explain.causes import CAUSES
from workloads.render.pods import stage_pod
from workloads.runtime import MASTER_PORT
from workloads.training.preflight import SUM_SECONDS

DOCS = Path(__file__).parents[2] / "docs"
OPERATOR = "github.com/kubeflow/mpi-operator@v0.6.0"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_traps_name_causes_that_tunery_knows() -> None:
    known = {each.id for each in CAUSES}
    rows = [line for line in page("traps.md").splitlines() if "`tunery why`" in line and line.startswith("|")]
    named = {word for row in rows for word in re.findall(r"`([a-z]+-[a-z]+)`", row.rpartition("|")[0])}
    assert rows
    assert named <= known


@pytest.mark.parametrize("name", ["traps.md", "multi-node.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page(name)) if "://" not in link]
    assert links
    assert [link for link in links if not (DOCS / link).is_file()] == []


def test_every_trap_says_what_one_sees_why_and_what_is_done() -> None:
    rows = [line for line in page("traps.md").splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 40
    assert {row.count(" | ") for row in rows} == {2}


def test_the_page_about_nodes_has_the_code_s_figures() -> None:
    text = page("multi-node.md")
    assert f"| {MASTER_PORT} |" in text
    assert f"({SUM_SECONDS:.0f} s)" in text


def example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(mpi_example.FILE.read_text(encoding="utf-8"))
    return found


def test_the_mpi_job_is_made_of_the_pods_of_the_jobset() -> None:
    run = case("two-nodes-of-two-gpus")
    assert example() == mpi_example.mpi_job(run)
    replicas = example()["spec"]["mpiReplicaSpecs"]
    worker, pod = replicas["Worker"]["template"]["spec"], stage_pod(run, "train", nodes=2, coordinator="x")
    for key in ("nodeSelector", "tolerations", "securityContext", "serviceAccountName", "volumes"):
        assert worker[key] == pod[key]
    assert worker["containers"][0]["resources"] == pod["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in json.dumps(replicas["Launcher"])


def test_every_variable_of_the_stage_reaches_the_ranks() -> None:
    [launcher] = example()["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"]
    passed = {
        after for before, after in zip(launcher["command"], launcher["command"][1:], strict=False) if before == "-x"
    }
    assert passed == {each["name"] for each in launcher["env"]}


def strict(schema: Any) -> Any:
    """The schema with unknown keys refused, as the API server does with strict field validation."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        found = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    return found


@pytest.mark.slow
def test_the_mpi_operator_s_own_definition_accepts_the_example() -> None:
    if shutil.which("go") is None:
        message = "Go is missing, with which the MPI Operator is fetched; install it from your system's packages"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    fetch = ["go", "mod", "download", "-json", OPERATOR]
    done = subprocess.run(fetch, capture_output=True, text=True, check=True, cwd="/")
    crd = yaml.safe_load(Path(json.loads(done.stdout)["Dir"], "manifests/base/kubeflow.org_mpijobs.yaml").read_text())
    [version] = [
        each for each in crd["spec"]["versions"] if f"{crd['spec']['group']}/{each['name']}" == mpi_example.API
    ]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(example(), schema)
    wrong = example()
    wrong["spec"]["runPolicy"]["backofLimit"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
