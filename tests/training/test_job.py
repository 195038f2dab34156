from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, Preempted, Problem, TuneryError, UnavailableError
from workloads.storage.atomic import write_json
from workloads.training.job import Job
from workloads.training.world import World

LOST = UnavailableError.of("Another process is gone.", "run it again")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, "module", World(2), tmp_path / "run", tmp_path / "base", {"stage": "sft"})


def test_a_rank_reads_what_the_launcher_wrote(job: Job) -> None:
    job.write()
    assert Job.read(job.file) == job


def test_all_done_gives_the_first_ranks_outputs(job: Job) -> None:
    job.write_result(0, {"steps": 8, "digest": "d"})
    job.write_result(1, {"steps": 8})
    assert job.conclude(stopped=False) == {"steps": 8, "digest": "d"}
    assert job.conclude(stopped=True) == {"steps": 8, "digest": "d"}


def test_it_is_known_when_all_ranks_of_the_node_have_ended(job: Job) -> None:
    job.write_failure(UnavailableError.of("the node", "look"))
    job.write_result(0, {"steps": 4})
    assert not job.all_told()
    job.write_failure(UnavailableError.of("a rank", "look"), 1)
    assert job.all_told()


def test_a_later_node_gives_the_outputs_of_its_own_first_rank(job: Job) -> None:
    later = Job(job.folder, job.entry, World(1, 3, 2, "a", 1), job.root, job.base_model, {})
    later.write_result(2, {"steps": 8})
    assert later.conclude(stopped=False) == {"steps": 8}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([InputError.of("bad value", "correct it"), LOST], InputError),
        ([LOST, InputError.of("bad value", "correct it")], InputError),
        ([Preempted.of("saved", "again"), LOST], Preempted),
        ([LOST, TuneryError(Problem("a bug", "tell us"))], TuneryError),
        ([LOST, LOST], UnavailableError),
        ([InputError.of("bad value", "correct it"), Preempted.of("by torchrun", "again")], InputError),
        ([TuneryError(Problem("a bug", "tell us")), Preempted.of("by torchrun", "again")], TuneryError),
    ],
)
def test_the_most_telling_reason_counts(job: Job, errors: list[TuneryError], expected: type[TuneryError]) -> None:
    for rank, error in enumerate(errors):
        job.write_failure(error, rank, peer_lost=error is LOST)
    with pytest.raises(TuneryError) as caught:
        job.conclude(stopped=False)
    assert type(caught.value) is expected


@pytest.mark.parametrize("codes", [{"0": 69, "1": -9}, {"1": -9}])
def test_a_killed_rank_is_named_and_the_run_can_go_on(job: Job, codes: dict[str, Any]) -> None:
    job.write_failure(LOST, 0, peer_lost=True)
    write_json(job.folder / "exit_codes.json", codes)
    with pytest.raises(UnavailableError, match=r"Rank 1 on .* was killed by SIGKILL"):
        job.conclude(stopped=False)


def test_killed_while_stopping_is_preempted(job: Job) -> None:
    write_json(job.folder / "exit_codes.json", {"0": -15, "1": -15})
    with pytest.raises(Preempted, match="before it could save"):
        job.conclude(stopped=True)


def test_what_stopped_the_whole_node_is_told(job: Job) -> None:
    job.write_failure(UnavailableError.of("node 1 did not arrive", "see why"))
    with pytest.raises(UnavailableError, match="node 1 did not arrive"):
        job.conclude(stopped=False)


def test_the_newest_saved_step_is_known(job: Job) -> None:
    assert job.saved_step() is None
    job.write_saved(4)
    job.write_saved(8)
    assert job.saved_step() == 8
