from pathlib import Path

import pytest

from workloads.errors import InputError
from workloads.training.answers import Question, grade, is_right, load_questions


def test_questions_are_read_with_their_category(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "a?", "answer": "b", "category": "c"}\n\n{"question": "d?", "answer": "e"}\n')
    assert load_questions(path) == [Question("a?", "b", "c"), Question("d?", "e")]


def test_every_bad_line_is_reported_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('not json\n{"question": "a?"}\n{"question": 1, "answer": "x"}\n["list"]\n')
    with pytest.raises(InputError) as caught:
        load_questions(path)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_questions(path)


def test_white_space_does_not_make_an_answer_wrong() -> None:
    assert is_right(" kubectl  get\npods ", "kubectl get pods")
    assert not is_right("kubectl get pod", "kubectl get pods")


def test_grades_are_shares() -> None:
    questions = [Question("1", "the red fox"), Question("2", "a dog")]
    grades = grade(questions, ["the red fox", "no idea"], rouge=True)
    assert grades == {"exact_match": 0.5, "rouge1": 0.5, "rougeL": 0.5}
    assert set(grade(questions, ["x", "y"], rouge=False)) == {"exact_match"}
