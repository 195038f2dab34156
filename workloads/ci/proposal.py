"""A pull request that changes one file, through GitHub's REST API: it takes neither git nor a writable clone.

A second proposal of the same content finds the first. Source: GitHub REST API 2022-11-28, git/refs, contents, pulls.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, UnavailableError

if TYPE_CHECKING:
    import httpx

API = "https://api.github.com"
ENV_TOKEN = "TUNERY_REPOSITORY_TOKEN"  # noqa: S105 a variable's name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_SECONDS = 30.0
_EXISTS = 422


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed: ``content`` for the file ``path`` of a branch as it was at ``commit``."""

    repository: str
    commit: str
    base: str
    path: str
    content: bytes
    title: str

    @property
    def branch(self) -> str:
        """Named by the content, so that the same is proposed once."""
        return f"tunery/{hashlib.sha256(self.content).hexdigest()[:12]}"


@dataclass(slots=True)
class GitHub:
    """One repository host. ``token`` needs to write contents and pull requests of the repository, nothing else."""

    token: str = field(repr=False)
    api: str = API
    transport: httpx.BaseTransport | None = None

    def propose(self, proposal: Proposal) -> str:
        """Makes the branch, the commit and the pull request; what is there already stays.

        Returns:
            The address of the pull request.

        Raises:
            InputError: the repository's name is none, or the token may not do it.
            UnavailableError: the host does not answer, or somebody else changed the branch meanwhile.
        """
        if not _NAME.fullmatch(proposal.repository):
            raise InputError.of(f"{proposal.repository!r} is no repository.", "write it as OWNER/NAME")
        repository, branch = f"/repos/{proposal.repository}", proposal.branch
        self._ask("POST", f"{repository}/git/refs", {"ref": f"refs/heads/{branch}", "sha": proposal.commit})
        file = f"{repository}/contents/{proposal.path}"
        before = self._ask("GET", f"{file}?ref={branch}")
        if base64.b64decode(before.get("content", "")) != proposal.content:
            encoded = base64.b64encode(proposal.content).decode()
            change = {"message": proposal.title, "content": encoded, "sha": before.get("sha"), "branch": branch}
            self._ask("PUT", file, change)
        request = {"title": proposal.title, "head": branch, "base": proposal.base, "body": "Made by the build."}
        made = self._ask("POST", f"{repository}/pulls", request)
        return str(made.get("html_url") or f"the pull request of {branch}, which was there before")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer; an empty one when what is to be made exists."""
        import httpx

        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        try:
            with httpx.Client(base_url=self.api, timeout=_SECONDS, headers=headers, transport=self.transport) as client:
                answer = client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError.of(f"The repository's host does not answer: {error}.", "try again") from error
        if answer.status_code == _EXISTS and method == "POST" and "already exists" in answer.text:
            return {}
        if answer.status_code >= 500 or answer.status_code in (409, 429):
            raise UnavailableError.of(f"The repository's host answers {answer.status_code} to {path}.", "try again")
        if answer.status_code >= 400:
            raise InputError.of(
                f"The repository's host refuses {method} {path.partition('?')[0]}: {answer.status_code}.",
                f"give {ENV_TOKEN} a token that may write contents and pull requests of this repository",
            )
        value = answer.json()
        return value if isinstance(value, dict) else {}
