from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import platform
from workloads.engines.sweep_budget import trial_hours
from workloads.errors import InputError
from workloads.render.pipeline import objects
from workloads.render.run import ClusterRun
from workloads.render.sweep import sweep_template
from workloads.render.workflow import workflow_template
from workloads.run_spec import RunSpec
from workloads.sweep.rungs import rungs

DIGEST = "registry.example/tunery/image@sha256:" + "0" * 64
ASHA = {
    "method": "asha",
    "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}},
    "trials": 9,
    "min_steps": 10,
    "parallel": 3,
}


def a_run(sweep: dict[str, Any] | None = None, **spec: Any) -> ClusterRun:
    found = platform.load("prod")
    values = {"name": "demo", "training": "x.yaml", "sweep": sweep or ASHA, "publish": {"name": "team/best"}, **spec}
    images = dict.fromkeys(("stager", "trainer", "server"), DIGEST)
    return ClusterRun("demo-1a2b3c4d5e", RunSpec.model_validate(values), next(iter(found.teams)), found, images)


def templates(run: ClusterRun) -> dict[str, Any]:
    return {each["name"]: each for each in sweep_template(run)["spec"]["templates"]}


def test_rungs_and_choices_take_the_place_of_the_training() -> None:
    tasks = templates(a_run())["pipeline"]["dag"]["tasks"]
    order = ["fetch", "prepare"]
    order += [f"{kind}-{number}" for number in range(3) for kind in ("rung", "choose")]
    order += ["evaluate", "export", "publish"]
    assert [task["name"] for task in tasks] == order
    assert [task.get("depends") for task in tasks] == [None, *order[:-1]]
    counts = [each["arguments"]["parameters"] for each in tasks if each["template"] == "rung"]
    assert [(each[0]["value"], each[1]["value"]) for each in counts] == [("0", "9"), ("1", "3"), ("2", "1")]


def test_so_many_trials_run_at_once_as_the_spec_says() -> None:
    rung = templates(a_run())["rung"]
    assert rung["parallelism"] == 3
    [task] = rung["dag"]["tasks"]
    assert task["withSequence"] == {"count": "{{inputs.parameters.count}}"}


def test_a_trial_is_a_job_in_the_queue_like_a_training() -> None:
    run = a_run()
    trial = templates(run)["trial"]
    [train] = [each for each in workflow_template(run)["spec"]["templates"] if each["name"] == "train"]
    job, training = yaml.safe_load(trial["resource"]["manifest"]), yaml.safe_load(train["resource"]["manifest"])
    container = job["spec"]["template"]["spec"]["containers"][0]
    slot = ["{{inputs.parameters.rung}}", "{{inputs.parameters.slot}}"]
    assert container["command"] == ["/usr/bin/tini", "--", "python", "-m", "workloads.stages.trial", run.id, *slot]
    assert job["metadata"]["name"] == f"{run.id}-t{slot[0]}-{slot[1]}"
    job["metadata"]["name"] = training["metadata"]["name"]
    container["command"] = training["spec"]["template"]["spec"]["containers"][0]["command"]
    assert job == training


def test_the_name_of_the_last_job_fits_a_host_name() -> None:
    longest = "x" * 51
    job = yaml.safe_load(templates(replace(a_run(), id=longest))["trial"]["resource"]["manifest"])
    name = (
        job["metadata"]["name"].replace("{{inputs.parameters.rung}}", "9").replace("{{inputs.parameters.slot}}", "999")
    )
    assert len(name) <= 63


def test_what_a_cost_buys_is_in_the_pods() -> None:
    run = replace(a_run(), trial_hours=12.5)
    job = yaml.safe_load(templates(run)["trial"]["resource"]["manifest"])
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TUNERY_SWEEP_HOURS", "value": "12.5"} in environment


def test_a_workflow_has_time_for_all_its_waves() -> None:
    one = sweep_template(a_run({**ASHA, "parallel": 9}))["spec"]["activeDeadlineSeconds"]
    many = sweep_template(a_run({**ASHA, "parallel": 1}))["spec"]["activeDeadlineSeconds"]
    assert many > one >= workflow_template(a_run())["spec"]["activeDeadlineSeconds"]


def test_it_is_sent_as_the_runs_workflow_and_stays_small() -> None:
    values = {"values": list(range(1, 32))}
    large = {"method": "grid", "parameters": {"lora_rank": values, "lora_alpha": values}, "parallel": 50}
    (workflow,) = objects(a_run(large))
    assert workflow["spec"] == sweep_template(a_run(large))["spec"]
    assert len(yaml.safe_dump(workflow)) < 60_000


@settings(max_examples=25, deadline=None)
@given(trials=st.integers(1, 1000), reduction=st.integers(2, 10), parallel=st.integers(1, 100))
def test_every_rung_of_the_plan_is_rendered_and_the_same_twice(trials: int, reduction: int, parallel: int) -> None:
    run = a_run({**ASHA, "trials": trials, "reduction": reduction, "parallel": parallel})
    assert run.spec.sweep is not None
    found = templates(run)["pipeline"]["dag"]["tasks"]
    expected = [str(each.trials) for each in rungs(run.spec.sweep, trials)]
    counts = [each["arguments"]["parameters"][1]["value"] for each in found if each["template"] == "rung"]
    assert counts == expected
    assert sweep_template(run) == sweep_template(run)


def test_a_cost_is_turned_into_hours_by_the_price_list() -> None:
    run = a_run({**ASHA, "budget": {"cost": 10}})
    hours = trial_hours(run)
    assert hours is not None
    assert trial_hours(a_run({**ASHA, "budget": {"cost": 20}})) == pytest.approx(2 * hours)
    assert trial_hours(a_run({**ASHA, "budget": {"hours": 3}})) is None


def test_a_cost_without_a_price_is_refused() -> None:
    run = a_run({**ASHA, "budget": {"cost": 10}})
    elsewhere = replace(run, platform=run.platform.model_copy(update={"region": "nowhere"}))
    with pytest.raises(InputError, match="no price of pool"):
        trial_hours(elsewhere)


def test_a_spec_without_a_sweep_has_no_such_template() -> None:
    run = a_run()
    with pytest.raises(ValueError, match="no sweep"):
        sweep_template(replace(run, spec=run.spec.model_copy(update={"sweep": None})))
