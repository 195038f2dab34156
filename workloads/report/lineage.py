"""Where the model came from: every digest and version that decided the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workloads.report.formats import figure
from workloads.report.source import RunSource, mapping, number, objects, text


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the lineage; ``value`` is copied exactly, ``note`` is for readers."""

    label: str
    value: str
    note: str = ""


def read_lineage(source: RunSource) -> list[Fact]:
    """The facts that are known, in the order in which they came to be."""
    record, base = source.record, mapping(source.record.get("base"))
    published = source.outputs("publish")
    prepared = mapping(source.outputs("prepare").get("rows"))
    rows = ", ".join(f"{figure(count)} {split}" for split, each in prepared.items() if (count := number(each)))
    facts = [
        Fact("Run", _value(record.get("id"))),
        Fact("Created", _value(record.get("created"))),
        Fact("Team", _value(source.spec.get("team"))),
        Fact("Git commit", _value(record.get("git_commit"))),
        Fact("Seed", _value(record.get("seed"))),
        Fact("Config digest", _value(record.get("config_digest"))),
        Fact("Base model", _value(base.get("reference")) or _value(base.get("model"))),
        Fact("Base revision", _value(base.get("revision"))),
        *(_dataset(each) for each in objects(record.get("datasets"))),
        *(_remote(each) for each in objects(record.get("remote_datasets"))),
        Fact("Prepared data", _value(source.outputs("prepare").get("digest")), f"rows: {rows}" if rows else ""),
        Fact("Trained weights", _value(source.outputs("train").get("digest"))),
        Fact("Exported model", _value(source.outputs("export").get("digest"))),
        Fact("Published", _value(published.get("reference")), _aliases(published.get("aliases"))),
        Fact("Published digest", _value(published.get("digest"))),
    ]
    return [fact for fact in facts if fact.value]


def read_versions(source: RunSource) -> list[Fact]:
    """The packages that the run was made with."""
    versions = mapping(source.record.get("versions"))
    return [Fact(name, _value(version)) for name, version in sorted(versions.items()) if _value(version)]


def _dataset(each: dict[str, Any]) -> Fact:
    name, count = text(each.get("name")), number(each.get("rows"))
    file = text(each.get("file")).rpartition("/")[2]  # the rest of the path says more about the machine than the data
    note = f"{file}, {figure(count)} rows" if count is not None else file
    return Fact(f"Data set {name}", _value(each.get("sha256")), note)


def _remote(each: dict[str, Any]) -> Fact:
    """A data set that was not in files where the run was started."""
    revision = _value(each.get("sha256")) or _value(each.get("revision"))
    return Fact(f"Data set {text(each.get('name'))}", revision, text(each.get("source")))


def _aliases(value: Any) -> str:
    names = [text(each) for each in value] if isinstance(value, list | tuple) else []
    return f"aliases when published: {', '.join(names)}" if names else ""


def _value(value: Any) -> str:
    """What a record holds as text; lists and objects are not facts."""
    return "" if value is None or isinstance(value, list | dict) else str(value)
