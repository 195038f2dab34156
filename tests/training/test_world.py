from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.training.world import World, refuse_other_world, shared

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
counts = st.integers(1, 16)


@given(batch=st.integers(1, 32), accumulation=counts, declared=counts, actual=counts)
def test_a_step_has_the_same_samples_and_no_process_holds_more_at_once(
    batch: int, accumulation: int, declared: int, actual: int
) -> None:
    assume(batch * accumulation * declared % actual == 0)
    config = {"stage": "sft", "learning_rate": 1e-4, BATCH: batch, ACCUMULATION: accumulation}
    found = shared(config, declared, actual)
    assert found[BATCH] * found[ACCUMULATION] * actual == batch * accumulation * declared
    assert found[BATCH] <= batch
    assert found["learning_rate"] == 1e-4
    if declared == actual:
        assert found == config


def test_the_trainers_defaults_count() -> None:
    assert shared({}, 1, 2) == {BATCH: 4, ACCUMULATION: 1}
    assert shared({}, 4, 1) == {BATCH: 8, ACCUMULATION: 4}


def test_samples_that_cannot_be_shared_evenly_are_refused_with_the_numbers_that_can() -> None:
    with pytest.raises(InputError, match=r"4 samples, which 3 processes .* use 1, 2 or 4 processes"):
        shared({BATCH: 4}, 1, 3)


def test_a_batch_that_is_part_of_the_loss_is_not_made_smaller() -> None:
    with pytest.raises(InputError, match="KTO compares the samples of a batch"):
        shared({"stage": "kto", BATCH: 4}, 1, 2)
    assert shared({"stage": "kto", BATCH: 4, ACCUMULATION: 2}, 1, 2)[BATCH] == 4


@pytest.mark.parametrize("value", ["8", True, 0, 1.5])
def test_a_batch_size_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="not a positive whole number"):
        shared({BATCH: value}, 1, 2)


@given(
    st.builds(
        World,
        processes=st.integers(1, 8),
        nodes=st.integers(2, 9),
        node_rank=st.integers(0, 1),
        address=st.sampled_from(["127.0.0.1", "a-w-0-0.a"]),
        port=st.integers(1, 65535),
        least_nodes=st.none() | st.just(1),
        last_call=st.integers(0, 100),
    )
)
def test_a_world_survives_the_environment(world: World) -> None:
    assert World.from_environment(world.as_environment()) == world


def test_an_index_of_a_job_means_nothing_for_a_single_node() -> None:
    assert World.from_environment({"JOB_COMPLETION_INDEX": "3", "MASTER_ADDR": "x", "TUNERY_PROCESSES": "2"}) == World(
        2
    )
    assert World.from_environment(World(4).as_environment()) == World(4)


@pytest.mark.parametrize(
    "environment",
    [{"NNODES": "two"}, {"TUNERY_PROCESSES": "0"}, {"NNODES": "2", "JOB_COMPLETION_INDEX": "2"}, {"NNODES": "-1"}]
    + [{"NNODES": nodes} for nodes in ("3:2", "0:2", ":2", "1:2:3", "1:")],
)
def test_an_impossible_world_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InputError):
        World.from_environment(environment)


def test_a_zero_3_checkpoint_fits_its_number_of_processes_only(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-8" / "global_step8"
    folder.mkdir(parents=True)
    refuse_other_world(folder.parent, 1)
    for rank in range(2):
        (folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt").touch()
    refuse_other_world(folder.parent, 2)
    with pytest.raises(InputError, match="saved by 2 processes with DeepSpeed ZeRO-3"):
        refuse_other_world(folder.parent, 4)
