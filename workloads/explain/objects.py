"""Kubernetes objects as dicts: what is in them, and how a line of evidence tells of it.

Nothing about them is believed: a part that is absent, or of another kind than expected, counts as absent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workloads.render.failure import CONTAINER

Object = dict[str, Any]


def part(value: Any, *path: str) -> Any:
    """What is at a path in nested objects; None when a part of the path is not there."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: Any) -> str:
    """``value`` if it is text, else empty."""
    return value if isinstance(value, str) else ""


def table(value: Any) -> Object:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Object]:
    """The objects in ``value`` if it is a list, else none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def name_of(thing: Object | None) -> str:
    """An object's name."""
    return text(part(thing, "metadata", "name"))


def owner(thing: Object) -> str:
    """The uid of the first owner of an object; empty when it has none."""
    owners = rows(part(thing, "metadata", "ownerReferences"))
    return text(owners[0].get("uid")) if owners else ""


def condition(thing: Object | None, kind: str) -> Object:
    """The condition of a kind in an object's status; empty when there is none."""
    return next((each for each in rows(part(thing, "status", "conditions")) if each.get("type") == kind), {})


def holds(thing: Object | None, kind: str) -> Object:
    """The condition of a kind if its status is True, else an empty one."""
    found = condition(thing, kind)
    return found if found.get("status") == "True" else {}


def main_status(pod: Object) -> Object:
    """The status of the container whose exit code counts."""
    found = rows(part(pod, "status", "containerStatuses"))
    return next((each for each in found if each.get("name") == CONTAINER), {})


def ended(pod: Object) -> Object:
    """How the pod's process ended; empty while it works."""
    return table(part(main_status(pod), "state", "terminated"))


def exit_code(pod: Object) -> int | None:
    """The exit code of the pod's process; None while it works."""
    code = ended(pod).get("exitCode")
    return code if isinstance(code, int) else None


def event_time(event: Object) -> float:
    """When a Kubernetes event was last seen."""
    stamps = (event.get("lastTimestamp"), event.get("eventTime"), part(event, "series", "lastObservedTime"))
    created = part(event, "metadata", "creationTimestamp")
    return max((seconds(stamp) for stamp in stamps if stamp), default=0.0) or seconds(created)


def seconds(stamp: Any) -> float:
    """Seconds since the epoch of a time as Kubernetes writes it; 0 when it is none."""
    try:
        return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else 0.0
    except (ValueError, OverflowError):
        return 0.0


def told(problem: Object) -> str:
    """A problem as a stage wrote it into the event log, as one line."""
    place = ":".join(str(problem[key]) for key in ("file", "line", "key") if problem.get(key) is not None)
    said = text(problem.get("message"))
    line = f"{place}: {said}" if place else said
    return f"{line} Fix: {problem['fix']}" if problem.get("fix") else line


def happened_line(event: Object) -> str:
    """A Kubernetes event as a line of evidence."""
    about = table(event.get("involvedObject"))
    count = event.get("count")
    times = f" ({count} times)" if isinstance(count, int) and count > 1 else ""
    return f"event {event.get('reason')} of {about.get('kind')} {about.get('name')}{times}: {event.get('message')}"


def condition_line(thing: Object | None, kind: str) -> str:
    """A condition as a line of evidence."""
    found = condition(thing, kind)
    what = f"{table(thing).get('kind', 'object')} {name_of(thing)}"
    return f"{what}: {kind}={found.get('status')} ({found.get('reason')}): {found.get('message')}"
