"""Any environment that keeps the rules is accepted; no file whatever brings anything but a list of problems."""

from __future__ import annotations

import copy
import string
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import Problem, SettingsError
from infra.machines import L4_ZONES, MACHINES, l4_zones
from infra.settings import Environment
from infra.settings_loader import load
from infra.settings_yaml import Location, key_of

PROD = Path(__file__).parents[2] / "configs" / "environments" / "prod.yaml"
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.sampled_from(
        ["", "-1", "0.0.0.0/0", "10.0.0.0/33", "::/0", "europe-west4-z", "' OR 1=1", "${a}", "\ud800", "a\nb", "🙂"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@st.composite
def pools(draw: st.DrawFn, zones: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"cpu": {"machine": draw(st.sampled_from([n for n, m in MACHINES.items() if not m.gpus]))}}
    for name in draw(st.lists(NAMES.filter(lambda name: name not in ("cpu", "system")), max_size=4, unique=True)):
        machine = draw(st.sampled_from([name for name, machine in MACHINES.items() if machine.gpus]))
        capacity = ["on-demand", "spot", "flex-start", "reservation"]
        bought = draw(st.lists(st.sampled_from(capacity), min_size=1, unique=True))
        most = draw(st.integers(1, 40))
        stands = "flex-start" not in bought and {"on-demand", "reservation"}.intersection(bought)
        found[name] = {
            "machine": machine,
            "gpus": MACHINES[machine].gpus,
            "capacity": bought,
            "max": most,
            "min": draw(st.integers(0, most)) if stands else 0,
            "zones": draw(st.lists(st.sampled_from(zones), unique=True)),
            **({"reservation": draw(NAMES)} if "reservation" in bought else {}),
        }
    return found


@st.composite
def environments(draw: st.DrawFn) -> dict[str, Any]:
    region = draw(st.sampled_from(sorted(L4_ZONES)))
    zones = draw(st.lists(st.sampled_from(l4_zones(region)), min_size=1, unique=True))
    nodes = draw(pools(zones))
    gpus = sum(pool.get("gpus", 0) * pool.get("max", 3) * len(pool.get("capacity", "ab")) for pool in nodes.values())
    teams = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    first = draw(st.dates(date(2025, 1, 1), date(2090, 1, 1)))
    project = draw(
        st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True).filter(lambda name: "google" not in name)
    )
    return {
        "name": draw(NAMES.filter(lambda name: len(name) > 1 and "google" not in name)),
        "project": project,
        "region": region,
        "zones": zones,
        "state_bucket": f"{project[:50]}-terraform",
        "cluster": {
            "maintenance": {
                "days": draw(st.lists(st.sampled_from(WEEKDAYS), min_size=3, unique=True)),
                "hours": draw(st.integers(4, 24)),
                "exclusions": [
                    {
                        "name": "one",
                        "start": first,
                        "end": first + timedelta(days=draw(st.integers(0, 30))),
                        "scope": draw(
                            st.sampled_from(["NO_UPGRADES", "NO_MINOR_UPGRADES", "NO_MINOR_OR_NODE_UPGRADES"])
                        ),
                    }
                ],
            }
        },
        "pools": nodes,
        "teams": {name: {"gpus": min(gpus // len(teams), 1000)} for name in teams},
        "artifactory": {"url": "https://artifactory.example.com/artifactory"},
    }


@given(values=environments())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_keeps_the_rules_is_accepted(folder: Path, values: dict[str, Any]) -> None:
    path = folder / f"{values['name']}.yaml"
    path.write_text(yaml.dump(values, Dumper=Plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    assert load(path).model_dump(exclude_unset=True).keys() == values.keys()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_environment_is_only_ever_told_about(folder: Path, data: st.DataObject) -> None:
    values = yaml.safe_load(PROD.read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        damage(data, values)
    path = folder / "prod.yaml"
    text = yaml.dump(values, Dumper=Plain, sort_keys=False, allow_unicode=False)
    path.write_text(text, encoding="utf-8")
    keys = {key_of(location) for location in locations(values)}
    for problem in problems_of(path):
        assert problem.file == str(path)
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1
        above = None if problem.key is None else problem.key.rpartition(".")[0]
        # A key that stands there, is missing there, or is wrong by its default.
        assert problem.key in keys or above in keys or str(problem.key).split(".")[0] in Environment.model_fields
        assert problem.message
        assert problem.fix


@given(
    start=st.integers(0, 2000),
    length=st.integers(0, 200),
    text=st.text(string.printable + "\x00\u2028é\ufeff", max_size=30),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_only_ever_told_about(folder: Path, start: int, length: int, text: str) -> None:
    data = PROD.read_bytes()
    path = folder / "prod.yaml"
    path.write_bytes(data[:start] + text.encode() + data[start + length :])
    assert {problem.file for problem in problems_of(path)} <= {str(path)}


def problems_of(path: Path) -> tuple[Problem, ...]:
    try:
        load(path)
    except SettingsError as error:
        return error.problems
    return ()


class Plain(yaml.SafeDumper):
    """Writes equal values twice, where the default would write an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def damage(data: st.DataObject, values: Any) -> None:
    """Removes, replaces or misspells one key or item anywhere in the values."""
    places = [place for place in locations(values) if place]
    if not places:
        return
    *above, last = data.draw(st.sampled_from(places))
    parent: Any = values
    for part in above:
        parent = parent[part]
    how = data.draw(st.sampled_from(["remove", "replace", "misspell", "double"]))
    if how == "replace":
        parent[last] = data.draw(HOSTILE)
    elif how == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[int(last)]))
    elif how == "misspell" and isinstance(parent, dict):
        parent[data.draw(st.text(max_size=12)) or f"{last}x"] = parent.pop(last)
    else:
        del parent[last]


def locations(values: Any, above: Location = ()) -> list[Location]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [above, *(place for key, inner in items for place in locations(inner, (*above, key)))]
