"""Every cause is found in the evidence that it explains, and in no other."""

from __future__ import annotations

import copy
import dataclasses
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_cluster.builders import RUN, ended, running
from recorded_cluster.cases import CASES, failed, seen

from workloads.explain.cause import Act
from workloads.explain.causes import CAUSES
from workloads.explain.evidence import Evidence
from workloads.explain.explain import document, explain

NAMES = {"run", "environment", "team", "stage", "namespace", "again"}


@pytest.mark.parametrize("cause", [each.id for each in CAUSES])
def test_each_cause_is_found_in_its_evidence(cause: str) -> None:
    explanation = explain(CASES[cause])
    assert explanation.cause == cause
    assert explanation.what.endswith((".", "?")) or ":" in explanation.what
    assert explanation.evidence, "a cause without evidence convinces nobody"
    assert "{" not in explanation.next


def test_causes_have_ids_of_their_own_and_cover_the_table() -> None:
    ids = [each.id for each in CAUSES]
    assert len(ids) == len(set(ids)) == len(CASES) >= 25


def test_a_next_step_names_only_what_is_known_of_a_run() -> None:
    for each in CAUSES:
        fields = {name for _, name, _, _ in string.Formatter().parse(each.next) if name}
        assert fields <= NAMES, each.id
        assert each.meaning.endswith(".")


def test_sentences_name_who_is_concerned() -> None:
    assert "nightly-1122334455" in explain(CASES["quota-full"]).what
    assert "urgent-9f8e7d6c5b" in " ".join(explain(CASES["behind-others"]).evidence)
    assert "europe-west4-a, europe-west4-b" in explain(CASES["stockout"]).what
    assert "tunery-prod-artifactory-token" in explain(CASES["secret-empty"]).what
    assert "jobset-webhook-service in jobset-system" in explain(CASES["webhook-away"]).what
    assert "gke-tunery-l4x1-7c2d-grp, 0 to 1" in explain(CASES["node-coming"]).what
    assert "https://artifactory.example.com" in explain(CASES["no-name"]).what


def test_memory_of_the_gpu_comes_with_the_estimate_and_of_the_host_with_the_limit() -> None:
    gpu, host = explain(CASES["gpu-memory"]), explain(CASES["host-memory"])
    assert "estimate: 27.4 GB on each accelerator" in gpu.evidence
    assert "25Gi" in host.what
    unestimated = dataclasses.replace(CASES["gpu-memory"], advice=())
    assert sum(line.startswith("change:") for line in explain(unestimated).evidence) == 3


def test_a_worker_that_died_without_a_word_is_explained_by_its_log() -> None:
    log = ("step 3", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert explain(failed(pods=(ended(1),), log=log)).cause == "gpu-memory"
    assert explain(seen(pods=(running(),), log=log)).cause != "gpu-memory"  # of a try before this one


def test_what_was_overcome_is_no_cause() -> None:
    history = (*CASES["hub-away"].history, {"time": CASES["hub-away"].now, "event": "stage_started", "stage": "fetch"})
    again = seen(history=history, pods=(running(stage="fetch"),))
    assert explain(again).cause not in ("hub-away", "service-away", "fault")


def test_a_run_that_left_the_cluster_is_explained_by_its_own_events() -> None:
    assert explain(dataclasses.replace(CASES["finished"], workflow=None)).cause == "finished"
    assert explain(dataclasses.replace(CASES["wrong-config"], workflow=None)).cause == "wrong-config"


def test_a_run_on_this_machine_goes_on_with_its_own_command() -> None:
    local = Evidence(RUN, "this machine", 0.0, history=CASES["disk-full"].history, local_state="failed")
    assert explain(local).next.endswith(f"tunery run --resume {RUN}")
    assert explain(Evidence(RUN, "this machine", 0.0, local_state="running")).cause == "running"


def test_a_retried_step_says_so() -> None:
    going = seen(history=CASES["hub-away"].history, workflow=CASES["between-stages"].workflow, stage_label="none")
    stage = dataclasses.replace(going, workflow={**going.workflow, "status": {"phase": "Running"}})  # type: ignore[dict-item]
    assert "the workflow goes on: it is tried again by itself" in explain(stage).evidence


def test_the_page_lists_every_cause_once() -> None:
    page = document()
    assert all(page.count(f"| `{each.id}` |") == 1 for each in CAUSES)
    assert all(line.count(" | ") == 3 for line in page.splitlines() if line.startswith("| `"))
    assert {each.act for each in CAUSES} == set(Act)


def _broken(value: Any, draw: st.DataObject) -> Any:
    """The same value with parts removed or replaced by something of another kind."""
    match draw.draw(st.sampled_from(["keep"] * 8 + ["none", "text", "list"])):
        case "none":
            return None
        case "text":
            return draw.draw(st.text(max_size=5))
        case "list":
            return [7]
    if isinstance(value, dict):
        return {key: _broken(inner, draw) for key, inner in value.items()}
    if isinstance(value, list):
        return [_broken(inner, draw) for inner in value]
    return value


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.data())
def test_evidence_of_any_form_is_explained(name: str, draw: st.DataObject) -> None:
    case = CASES[name]
    changes: dict[str, Any] = {}
    for each in dataclasses.fields(case):
        value = copy.deepcopy(getattr(case, each.name))
        if isinstance(value, dict):
            changed = _broken(value, draw)
            changes[each.name] = changed if isinstance(changed, dict) else ({} if each.name == "progress" else None)
        elif isinstance(value, tuple) and value and isinstance(value[0], dict):
            changes[each.name] = tuple(new for old in value if isinstance(new := _broken(old, draw), dict))
    explanation = explain(dataclasses.replace(case, **changes))
    assert explanation.cause in CASES
    assert explanation.as_dict()["evidence"] == list(explanation.evidence)
