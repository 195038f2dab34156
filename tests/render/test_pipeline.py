from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workloads import images, platform
from workloads.errors import InputError
from workloads.platform import LocalCluster, Platform
from workloads.render.argo_cd import GitSource, application, kustomization
from workloads.render.failure import ACTION
from workloads.render.pipeline import file_name, objects
from workloads.render.run import FIRING, ClusterRun
from workloads.render.text import to_documents
from workloads.run_spec import RunSpec

CONTRACTS = Path(__file__).parents[2] / "configs" / "platform"
DEV = platform.load("dev", CONTRACTS)
PROD = platform.load("prod", CONTRACTS)
LOCKED = {name: f"{DEV.registry}/{name}@sha256:{'0' * 64}" for name in ("stager", "trainer", "server")}
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "{{workflow.name}}",
            "{{=sprig.env('HOME')}}",
            "$(TUNERY_STORE)",
            "$(rm -rf /)",
            "`id`",
            "a\nimage: evil",
            "- !!python/object:os.system",
            "&a *a",
            '"}], "image": "evil',
            "'; touch /x; '",
            "a: b",
            "../../etc",
            "\u2028",
            "#",
            "no",
            "1e3",
        ]
    ),
)
SPEC_KEYS = ("overrides", "training", "base", "question", "publish", "team", "pool", "name", "schedule", "accelerator")


def a_run(spec: dict[str, Any] | None = None, *, run_id: str = "demo-0123456789", at: Platform = DEV) -> ClusterRun:
    values = {"name": "demo", "training": {"stage": "sft"}, **(spec or {})}
    return ClusterRun(run_id, RunSpec.model_validate(values), "research", at, LOCKED)


def hostile_spec(values: dict[str, str]) -> dict[str, Any]:
    return {
        "name": values["name"],
        "training": {"model_name_or_path": values["training"], values["overrides"] or "x": values["training"]},
        "overrides": {values["overrides"] or "x": values["overrides"]},
        "base": {"model": values["base"] or "x", "revision": values["base"]},
        "publish": {"name": values["publish"]},
        "serve": {"question": values["question"] or "x", "approval": True},
        "team": values["team"],
        "schedule": values["schedule"],
        "resources": {"pool": values["pool"], "accelerator": values["accelerator"]},
    }


SOUND = {
    "overrides": "learning_rate",
    "training": "tiny",
    "base": "tiny",
    "question": "Hello",
    "publish": "a/b",
    "team": "research",
    "pool": "l4x1",
    "name": "demo",
    "schedule": "0 3 * * 1",
    "accelerator": "l4",
}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(SPEC_KEYS), HOSTILE, min_size=1), st.one_of(st.just("demo-1"), HOSTILE))
def test_nothing_hostile_reaches_a_manifest(values: dict[str, str], run_id: str) -> None:
    try:
        spec = RunSpec.model_validate(hostile_spec(SOUND | values))
        manifests = objects(ClusterRun(run_id, spec, spec.team or "", DEV, LOCKED))
    except (ValidationError, InputError):
        return  # refused: it reaches nothing
    reference = a_run(hostile_spec(SOUND | {"name": spec.name}), run_id=run_id)
    wanted = json.loads(json.dumps(objects(reference)).replace("0 3 * * 1", str(spec.schedule)))
    assert manifests == wanted  # what the person may write freely is in none of them
    text = to_documents(manifests)
    assert list(yaml.safe_load_all(text)) == manifests
    assert "{{" not in text.replace(FIRING, "").replace(ACTION.replace("'", "''"), "")
    for template in manifests[0]["spec"]["templates"]:
        if inner := template.get("resource"):
            assert yaml.safe_load(inner["manifest"])["kind"] in ("Job", "JobSet")


@pytest.mark.parametrize("run_id", ["", "-a", "A", "a" * 52, "a_b", "a.b", "a\nb", "{{x}}", "$(x)"])
def test_an_id_that_is_no_label_is_refused(run_id: str) -> None:
    with pytest.raises(InputError):
        a_run(run_id=run_id)


@pytest.mark.parametrize("text", ["{{workflow.uid}}", "$(HOME)"])
def test_a_contract_that_would_be_expanded_is_refused(text: str) -> None:
    local = LocalCluster(store="/store", environment={"TUNERY_HUB": text})
    with pytest.raises(InputError, match="would be expanded"):
        objects(a_run({"resources": {"pool": "cpu"}}, at=DEV.model_copy(update={"local": local})))


def test_a_run_starts_once_and_a_schedule_again_and_again() -> None:
    (workflow,) = objects(a_run())
    assert (workflow["kind"], workflow["metadata"]["name"]) == ("Workflow", "demo-0123456789")
    assert "workflowTemplateRef" not in workflow["spec"]
    template, cron = objects(a_run({"schedule": "0 3 * * 1"}))
    assert (cron["kind"], cron["metadata"]["name"]) == ("CronWorkflow", "demo")
    assert cron["spec"]["workflowSpec"] == {"workflowTemplateRef": {"name": template["metadata"]["name"]}}


def test_a_firing_works_on_a_run_of_its_own_from_the_inputs_of_the_schedule() -> None:
    template, _ = objects(a_run({"schedule": "0 3 * * 1", "resources": {"nodes": 2}}))
    for each in template["spec"]["templates"]:
        if each["name"] == "pipeline":
            continue
        assert each["metadata"]["labels"][DEV.labels.run] == FIRING
        if "resource" in each:
            manifest = yaml.safe_load(each["resource"]["manifest"])
            assert manifest["metadata"]["name"] == f"{FIRING}-{each['name'][0]}"
            spec = (
                manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
                if each["name"] == "train"
                else manifest["spec"]
            )
            container = spec["template"]["spec"]["containers"][0]
        else:
            container = each["container"]
        environment = {pair["name"]: pair["value"] for pair in container["env"]}
        assert container["command"][-1] == FIRING
        assert environment["TUNERY_BUNDLE"] == "demo-0123456789"


@pytest.mark.parametrize(("nodes", "longest"), [(2, 38), (10, 38), (11, 37), (64, 37)])
def test_the_longest_names_are_still_pod_names(nodes: int, longest: int) -> None:
    spec = {"name": "n" * longest, "resources": {"nodes": nodes, "pool": "l4x1"}}
    long = {**spec, "name": "n" * (longest + 1)}
    for refused in ((long, f"{long['name']}-0123456789"), ({**long, "schedule": "* * * * *"}, "demo-1")):
        with pytest.raises(InputError, match="shorten the run spec's name by 1"):
            a_run(refused[0], run_id=refused[1])
    for run, name in (
        (a_run(spec, run_id=f"{spec['name']}-0123456789"), f"{spec['name']}-0123456789"),
        (a_run({**spec, "schedule": "* * * * *"}), f"{spec['name']}-1764000000"),
    ):
        train = next(each for each in objects(run)[0]["spec"]["templates"] if each["name"] == "train")
        manifest = yaml.safe_load(train["resource"]["manifest"].replace(FIRING, name))
        job = manifest["spec"]["replicatedJobs"][0]
        last = f"{manifest['metadata']['name']}-{job['name']}-0-{job['template']['spec']['completions'] - 1}-xxxxx"
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", last)


def test_steps_without_a_gpu_report_with_a_token_and_leave_in_time() -> None:
    (template,) = objects(a_run())
    for each in template["spec"]["templates"]:
        if "container" in each:
            patch = json.loads(each["podSpecPatch"])
            assert patch["automountServiceAccountToken"] is True
            assert patch["terminationGracePeriodSeconds"] == DEV.grace_seconds["spot"]
        if "resource" in each:
            job = yaml.safe_load(each["resource"]["manifest"])
            assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_step_that_lost_its_pod_finds_the_job_that_it_created() -> None:
    (template,) = objects(a_run())
    steps = [each for each in template["spec"]["templates"] if "resource" in each]
    assert [each["name"] for each in steps] == ["train", "evaluate"]
    for each in steps:
        assert each["resource"]["action"] == ACTION
        retry = each["retryStrategy"]
        assert (retry["retryPolicy"], "maxDuration" in retry["backoff"]) == ("Always", False)
        again = re.search("matches '(.+)'", retry["expression"])
        assert again
        for said, tried in (
            ('Error from server (AlreadyExists): jobs.batch "demo-t" already exists', True),
            ('Error from server (NotFound): jobs.batch "demo-t" not found', True),
            ("failure condition '{status.failed gt [0]}' evaluated true", False),
            ("Error from server (Forbidden): jobs.batch is forbidden: exceeded quota", False),
        ):
            assert bool(re.search(again[1], said)) is tried


def test_argos_own_containers_wait_for_an_api_server_that_is_away() -> None:
    (template,) = objects(a_run())
    for each in template["spec"]["templates"]:
        if "dag" in each:
            continue
        (container,) = json.loads(each["podSpecPatch"])["containers"]
        assert container["name"] == ("main" if "resource" in each else "wait")
        variables = {one["name"]: one["value"] for one in container["env"]}
        assert int(variables["EXECUTOR_RETRY_BACKOFF_STEPS"]) > 10
        for error in (
            "dial tcp 10.96.0.1:443: connect: network is unreachable",
            "dial tcp 10.96.0.1:443: connect: connection refused",
            "read tcp 10.0.0.1:5->10.96.0.1:443: read: connection reset by peer",
            "http2: client connection lost",
            "net/http: TLS handshake timeout",
            "unexpected EOF",
        ):
            assert re.search(variables["TRANSIENT_ERROR_PATTERN"], error)
        assert not re.search(variables["TRANSIENT_ERROR_PATTERN"], 'jobs.batch "x" is forbidden: exceeded quota')


def test_the_application_delivers_the_folder_and_brings_nothing_back() -> None:
    run = ClusterRun("demo-0123456789", a_run().spec, "research", PROD, LOCKED)
    found = application(run, GitSource("https://git.example.com/llm/deliver.git", "runs/demo", "main"))
    assert (found["kind"], found["metadata"]["namespace"]) == ("Application", PROD.controllers["argo-cd"])
    assert found["spec"]["destination"]["namespace"] == "team-research"
    assert found["spec"]["syncPolicy"]["automated"] == {"prune": False, "selfHeal": False}
    names = [file_name(each) for each in objects(run)]
    assert kustomization(names)["resources"] == ["workflow.yaml"]
    with pytest.raises(InputError, match="no Argo CD"):
        application(a_run(), GitSource("https://git.example.com/x.git", "x"))


def test_images_come_by_digest_and_all_that_have_none_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.json"
    entry = {"repository": "llama-factory", "digest": f"sha256:{'a' * 64}"}
    lock.write_text(json.dumps({"images": {"trainer": entry, "stager": {"repository": "stager", "digest": "latest"}}}))
    assert images.references(DEV, lock, ["trainer"]) == {"trainer": f"{DEV.registry}/llama-factory@sha256:{'a' * 64}"}
    with pytest.raises(InputError) as refused:
        images.references(DEV, lock)
    assert [each.key for each in refused.value.problems] == ["images.stager.digest", "images.server.digest"]
    assert all("build the images" in each.fix for each in refused.value.problems)
    lock.write_text("{}")
    with pytest.raises(InputError, match="no list of images"):
        images.references(DEV, lock)


def test_a_local_cluster_names_its_images_in_full() -> None:
    local = LocalCluster(store="/store", images={"stager": "a:1", "trainer": "b:1"})
    at = DEV.model_copy(update={"local": local})
    assert images.references(at, names=["stager", "trainer"]) == {"stager": "a:1", "trainer": "b:1"}
    with pytest.raises(InputError, match="names no image for server"):
        images.references(at)


def test_the_committed_lock_knows_every_image(repository: Path) -> None:
    known = json.loads((repository / "configs" / "images.lock.json").read_text())["images"]
    assert set(images.IMAGES) < set(known)
    assert all(set(entry) == {"repository", "digest"} for entry in known.values())


def test_a_local_run_works_as_the_user_who_owns_the_store() -> None:
    local = LocalCluster(store="/store", user=1000)
    (template,) = objects(a_run({"resources": {"pool": "cpu"}}, at=DEV.model_copy(update={"local": local})))
    fetch = next(each for each in template["spec"]["templates"] if each["name"] == "fetch")
    assert fetch["securityContext"]["runAsUser"] == 1000
    assert fetch["securityContext"]["runAsNonRoot"] is True
