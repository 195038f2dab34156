"""The git repository that the configs are in, read without git's command line, which images of builds do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workloads.errors import InputError

if TYPE_CHECKING:
    from dulwich.objects import Commit
    from dulwich.repo import Repo

_HISTORY = "fetch it (git fetch --unshallow), or name another with --base"
_FILES = (0o100644, 0o100755)


@dataclass(frozen=True, slots=True)
class Repository:
    """A working tree; ``root`` is its top folder."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Repository:
        """The repository that holds ``folder``.

        Raises:
            InputError: there is none.
        """
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            with Repo.discover(str(folder)) as found:
                return cls(Path(found.path).resolve())
        except NotGitRepository as error:
            raise InputError.of("This is no git repository.", "run it in a clone of one", file=folder) from error

    def commit(self, revision: str) -> str:
        """The 40 hex digits of a revision: a branch, a tag, ``HEAD~2``, or some of the digits.

        Raises:
            InputError: the repository does not have it.
        """
        with self._open() as repo:
            return _find(repo, revision).id.decode()

    def has(self, commit: str) -> bool:
        """Whether HEAD is that commit or comes after it, as far as the history is here."""
        try:
            return self.meeting_point(commit) == commit
        except InputError:
            return False

    def meeting_point(self, revision: str) -> str:
        """The commit at which HEAD and a revision parted: what a pull request is compared with.

        Raises:
            InputError: the repository does not have the revision, or nothing that both come from.
        """
        from dulwich.graph import find_merge_base

        with self._open() as repo:
            found = find_merge_base(repo, [_find(repo, "HEAD").id, _find(repo, revision).id])
        if not found:
            raise InputError.of(f"HEAD and {revision!r} have no commit in common here.", _HISTORY, key="--base")
        return found[0].decode()

    def before_head(self) -> str | None:
        """The first parent of HEAD; None when HEAD is the first commit.

        Raises:
            InputError: the clone has no history.
        """
        with self._open() as repo:
            head = _find(repo, "HEAD")
            if not head.parents:
                return None
            if head.parents[0] not in repo:
                raise InputError.of("This clone has no history to compare with.", _HISTORY, file=self.root)
            return head.parents[0].decode()

    @contextmanager
    def files_at(self, commit: str | None) -> Iterator[Path]:
        """A folder with the files of a commit, or of none, as long as the block runs. Links are left out."""
        with TemporaryDirectory(prefix="tunery-ci-") as name, self._open() as repo:
            folder = Path(name).resolve()
            if commit is not None:
                _unpack(repo, _find(repo, commit), folder)
            yield folder

    def _open(self) -> Repo:
        from dulwich.repo import Repo

        return Repo(str(self.root))


def _find(repo: Repo, revision: str) -> Commit:
    from dulwich.objects import Commit
    from dulwich.objectspec import parse_commit, parse_object

    # The first knows branches, tags and shortened digits, the second `~` and `^`.
    for parse in (parse_commit, parse_object):
        try:
            found = parse(repo, revision.encode())
        except (KeyError, ValueError, AssertionError):
            continue
        if isinstance(found, Commit):
            return found
    raise InputError.of(f"The repository has no commit {revision!r}.", _HISTORY, key="--base")


def _unpack(repo: Repo, commit: Commit, folder: Path) -> None:
    from dulwich.index import validate_path
    from dulwich.object_store import iter_tree_contents
    from dulwich.objects import Blob

    for entry in iter_tree_contents(repo.object_store, commit.tree):
        if entry.mode not in _FILES or not validate_path(entry.path):
            continue  # a link, a submodule, or a name such as `..` that git itself would not write
        blob = repo[entry.sha]
        if isinstance(blob, Blob):
            path = folder / entry.path.decode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob.data)
