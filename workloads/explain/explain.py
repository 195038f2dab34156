"""From evidence to the one cause, and the table of all causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workloads.explain.cause import Act, Cause
from workloads.explain.causes import CAUSES
from workloads.explain.evidence import Evidence

_DOCUMENT = """# Why a run waits or failed

`tunery why RUN` reads what Kubernetes, Argo, Kueue, the autoscaler and the run itself say, and names one cause, with
the lines that show it and the next step. These are the causes, in the order in which they are tried. This page is made
from them (`workloads/explain/causes`) by `make goldens`.

| cause | what it means | who acts | next step |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a run stands where it stands.

    Attributes:
        cause: its id, from the table of causes.
        what: what happened, in one sentence.
        evidence: the lines that show it.
        next: what to do, often a command.
        hidden: what could not be read, which may have said more.
    """

    run: str
    cause: str
    what: str
    evidence: tuple[str, ...]
    next: str
    act: Act
    hidden: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "run": self.run,
            "cause": self.cause,
            "what": self.what,
            "evidence": list(self.evidence),
            "next": self.next,
            "who": str(self.act),
            "hidden": list(self.hidden),
        }


def explain(evidence: Evidence) -> Explanation:
    """The first cause that fits; the last one always does."""
    for each in CAUSES:
        seen = each.look(evidence)
        if seen is not None:
            next_ = each.next.format(**_names(evidence))
            lines = (*seen.evidence, *([f"sweep: {evidence.sweep}"] if evidence.sweep else []))
            return Explanation(evidence.run, each.id, seen.what, lines, next_, each.act, evidence.hidden)
    raise AssertionError("the last cause fits everything")


def document() -> str:
    """The page about the causes, for docs/why.md."""
    return _DOCUMENT + "".join(map(_row, CAUSES))


def _row(cause: Cause) -> str:
    who = "nobody: it goes on by itself" if cause.act is Act.NOBODY else str(cause.act)
    return f"| `{cause.id}` | {cause.meaning} | {who} | {cause.next.format(**_PLACEHOLDERS)} |\n"


_PLACEHOLDERS = {
    "run": "RUN",
    "environment": "ENV",
    "team": "TEAM",
    "stage": "STAGE",
    "namespace": "NAMESPACE",
    "again": "tunery retry RUN",
}


def _names(evidence: Evidence) -> dict[str, str]:
    return {
        "run": evidence.run,
        "environment": evidence.environment,
        "team": evidence.team,
        "stage": evidence.stage or "train",
        "namespace": evidence.namespace,
        "again": f"tunery run --resume {evidence.run}" if evidence.local_state else f"tunery retry {evidence.run}",
    }
