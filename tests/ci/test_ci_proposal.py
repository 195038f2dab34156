from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ci.services import FakeGitHub, github

COMMIT = "c" * 40
LOCK = "configs/images.lock.json"


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    """The repository example/llm, and a clone of it as the working directory."""
    (tmp_path / "clone" / "configs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone")
    Path(LOCK).write_text("new")
    with github({COMMIT}, {LOCK: b"old"}) as found:
        monkeypatch.setenv("TUNERY_REPOSITORY_TOKEN", found.token)
        monkeypatch.setenv("TUNERY_REPOSITORY_API", found.url)
        yield found


def propose(tunery: Callable[..., str], *more: str, repository: str = "example/llm", code: int = 0) -> str:
    return tunery(
        "ci", "propose", LOCK, "--repository", repository, "--commit", COMMIT, "--base", "main", *more, code=code
    )


def test_a_pull_request_changes_one_file(hosted: FakeGitHub, tunery: Callable[..., str]) -> None:
    assert json.loads(propose(tunery, "--json")) == {"ok": True, "pull_request": "https://github.example/pull/1"}
    (pull,) = hosted.pulls
    assert hosted.files[pull["head"]] == {LOCK: b"new"}
    assert hosted.files["main"] == {LOCK: b"old"}
    assert pull["base"] == "main"


def test_the_same_is_proposed_once_and_another_beside_it(hosted: FakeGitHub, tunery: Callable[..., str]) -> None:
    propose(tunery)
    assert "was there before" in propose(tunery)
    assert len(hosted.pulls) == 1
    Path(LOCK).write_text("newer")
    propose(tunery)
    assert len({pull["head"] for pull in hosted.pulls}) == 2


def test_a_proposal_that_was_cut_off_is_completed(hosted: FakeGitHub, tunery: Callable[..., str]) -> None:
    propose(tunery)
    hosted.pulls.clear()
    propose(tunery)
    assert len(hosted.pulls) == 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, 64, "a token that may write contents"),
        (404, 64, "refuses POST"),
        (500, 69, "answers 500"),
        (429, 69, "429"),
    ],
)
def test_a_refusal_says_what_to_do(
    hosted: FakeGitHub, tunery: Callable[..., str], status: int, code: int, words: str
) -> None:
    hosted.refuses = status
    said = propose(tunery, code=code)
    assert words in said
    assert hosted.token not in said


def test_a_commit_that_the_host_does_not_have(hosted: FakeGitHub, tunery: Callable[..., str]) -> None:
    hosted.commits.clear()
    assert "refuses POST /repos/example/llm/git/refs: 422" in propose(tunery, code=64)


@pytest.mark.parametrize("repository", ["llm", "../llm", "a/b/c", "a b/c", "https://github.com/a/b"])
def test_what_is_no_repository(hosted: FakeGitHub, tunery: Callable[..., str], repository: str) -> None:
    assert "is no repository" in propose(tunery, repository=repository, code=64)


def test_without_a_token_or_a_file(
    hosted: FakeGitHub, tunery: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(LOCK).unlink()
    assert "no such file" in propose(tunery, code=64)
    monkeypatch.delenv("TUNERY_REPOSITORY_TOKEN")
    assert "set TUNERY_REPOSITORY_TOKEN" in propose(tunery, code=64)


def test_a_host_that_is_away(hosted: FakeGitHub, tunery: Callable[..., str]) -> None:
    assert "does not answer" in propose(tunery, "--api", "http://127.0.0.1:9", code=69)
