import pytest

from workloads.errors import ExitCode, InputError, Preempted, Problem, TuneryError, UnavailableError, did_you_mean


@pytest.mark.parametrize(
    ("kind", "code"), [(TuneryError, 70), (InputError, 64), (UnavailableError, 69), (Preempted, 75)]
)
def test_each_error_has_the_exit_code_that_controllers_are_told(kind: type[TuneryError], code: int) -> None:
    assert kind(Problem("m", "f")).exit_code == code


def test_exit_codes_are_a_protocol_and_do_not_move() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "INPUT": 64,
        "UNAVAILABLE": 69,
        "INTERNAL": 70,
        "PREEMPTED": 75,
    }


def test_a_problem_reads_as_where_what_and_how() -> None:
    problem = Problem(
        "'lora_rnak' is unknown.", "rename it", file="a.yaml", line=3, key="lora_rnak", suggestion="lora_rank"
    )
    assert str(problem) == "a.yaml:3:lora_rnak: 'lora_rnak' is unknown. Did you mean 'lora_rank'? Fix: rename it"
    assert problem.as_dict() == {
        "message": "'lora_rnak' is unknown.",
        "fix": "rename it",
        "file": "a.yaml",
        "line": 3,
        "key": "lora_rnak",
        "suggestion": "lora_rank",
        "code": "invalid",
    }


def test_an_error_shows_all_its_problems() -> None:
    error = InputError([Problem("one", "a"), Problem("two", "b")])
    assert "one" in str(error)
    assert "two" in str(error)


def test_did_you_mean_offers_only_what_is_near() -> None:
    assert did_you_mean("learning_rat", ["learning_rate", "lora_rank"]) == "learning_rate"
    assert did_you_mean("zzz", ["learning_rate", "lora_rank"]) is None
