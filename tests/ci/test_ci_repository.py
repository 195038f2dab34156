from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from workloads.ci.repository import Repository
from workloads.errors import InputError


@pytest.mark.parametrize("revision", ["HEAD", "HEAD~1", "HEAD^1", "main", "v1", "topic"])
def test_revisions_are_those_of_git(project: Any, revision: str) -> None:
    project.git("tag", "-a", "v1", "-m", "one")
    project.git("branch", "topic")
    project.edit("configs/runs/one.yaml", name="more")
    project.commit()
    assert Repository.around(project.root).commit(revision) == project.git("rev-parse", f"{revision}^{{commit}}")


def test_a_commit_may_be_named_by_its_first_digits(project: Any) -> None:
    head = project.git("rev-parse", "HEAD")
    assert Repository(project.root).commit(head[:9]) == head


@pytest.mark.parametrize("revision", ["nothing", "--help", "", "HEAD~9", "a" * 40, "HEAD:configs"])
def test_what_is_no_commit_is_refused(project: Any, revision: str) -> None:
    with pytest.raises(InputError, match="has no commit"):
        Repository(project.root).commit(revision)


def test_a_pull_request_is_compared_with_where_it_parted(project: Any) -> None:
    parted = project.git("rev-parse", "HEAD")
    project.git("checkout", "-q", "-b", "topic")
    project.edit("configs/runs/one.yaml", name="mine")
    project.commit()
    project.git("checkout", "-q", "main")
    project.edit("configs/runs/two.yaml", name="theirs")
    newer = project.commit()
    project.git("checkout", "-q", "topic")
    repository = Repository(project.root)
    assert repository.meeting_point("main") == parted
    assert (repository.has(parted), repository.has(newer)) == (True, False)


def test_a_first_commit_has_nothing_before_it_and_a_clone_without_history_says_so(project: Any, tmp_path: Path) -> None:
    assert Repository(project.root).before_head() is None
    project.edit("configs/runs/one.yaml", name="more")
    project.commit()
    assert Repository(project.root).before_head() == project.git("rev-parse", "HEAD^")
    clone = tmp_path / "shallow"
    command = ["git", "clone", "-q", "--depth=1", f"file://{project.root}", str(clone)]
    subprocess.run(command, check=True)
    with pytest.raises(InputError, match="no history"):
        Repository(clone).before_head()
    fetch = ["git", "-C", str(clone), "fetch", "-q", "--unshallow"]
    subprocess.run(fetch, check=True)
    assert Repository(clone).before_head() == project.git("rev-parse", "HEAD^")


def test_the_files_of_a_commit_are_those_that_git_writes(project: Any) -> None:
    (project.root / "link").symlink_to("/etc/passwd")
    commit = project.commit()
    project.edit("configs/runs/one.yaml", name="later")
    listed = set(project.git("ls-tree", "-r", "--name-only", commit).splitlines()) - {"link"}
    with Repository(project.root).files_at(commit) as folder:
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert not (folder / "link").is_symlink()
    assert set(found) == listed
    assert b"later" not in found["configs/runs/one.yaml"]
    assert not folder.exists()


def test_a_linked_working_tree_is_a_repository(project: Any, tmp_path: Path) -> None:
    project.git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    assert Repository.around(tmp_path / "tree" / "configs").commit("HEAD") == project.git("rev-parse", "HEAD")


def test_a_folder_outside_git(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no git repository"):
        Repository.around(tmp_path)
