"""From files to checked environments, or to every mistake in all of them, each with file, line and key."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError, create_model

from infra.errors import Problem, SettingsError, did_you_mean
from infra.settings import Environment
from infra.settings_checks import check, collisions
from infra.settings_types import Settings
from infra.settings_yaml import Location, Source, read

SUFFIX = ".yaml"


def load(path: Path) -> Environment:
    """Reads and checks one environment.

    Raises:
        SettingsError: with everything that is wrong with it.
    """
    return _load(path)[0]


def load_all(folder: Path, names: Sequence[str] | None = None) -> list[Environment]:
    """Reads and checks the environments of a folder, sorted by name, also against one another.

    Args:
        names: only these; all when None.

    Raises:
        SettingsError: with everything that is wrong with any of them.
    """
    problems: list[Problem] = []
    loaded = []
    for path in _paths(folder, names, problems):
        try:
            loaded.append(_load(path))
        except SettingsError as error:
            problems += error.problems
    sources = {environment.name: source for environment, source in loaded}
    environments = [environment for environment, _source in loaded]
    problems += [sources[environment.name].problem(*finding) for environment, finding in collisions(environments)]
    if problems:
        raise SettingsError(problems)
    return environments


def _paths(folder: Path, names: Sequence[str] | None, problems: list[Problem]) -> list[Path]:
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        fix = "name the folder that holds the environments"
        raise SettingsError([Problem(f"It cannot be read: {error.strerror}.", fix, str(folder))]) from None
    found = {path.stem: path for path in files if path.suffix == SUFFIX}
    problems += [
        Problem("Only files that end in .yaml are read.", f"rename it to {path.stem}.yaml", str(path))
        for path in files
        if path.suffix == ".yml"
    ]
    for name in names or ():
        if name not in found:
            fix = f"{did_you_mean(name, found)}there are: {', '.join(found) or 'none'}"
            problems.append(Problem(f"There is no environment {name!r}.", fix, str(folder)))
    if not found and not problems:
        problems.append(Problem("There is no environment here.", "add a file such as dev.yaml", str(folder)))
    return [path for name, path in found.items() if names is None or name in names]


def _load(path: Path) -> tuple[Environment, Source]:
    source = read(path)
    environment, wrong = _validate(source)
    absent = {str(location[0]) for location in wrong if location[:1]}
    partial: set[str] = set()
    if environment is None:
        environment, partial = _remainder(source.values, wrong)
        absent -= partial
    told = {problem.key for problem in source.problems}
    problems = source.problems + [each for location in wrong for each in wrong[location] if each.key not in told]
    problems += [source.problem(*finding) for finding in check(environment, absent, partial)]
    name = source.values.get("name")
    if isinstance(name, str) and name != path.stem and "name" not in absent:
        fix = f"write {path.stem!r}, or rename the file to {name}{SUFFIX}"
        problems.append(source.problem(("name",), f"The file is named {path.stem!r}, not {name!r}.", fix))
    if problems:
        raise SettingsError(sorted(problems, key=lambda problem: (problem.line or 0, problem.key or "")))
    return environment, source


def _validate(source: Source) -> tuple[Environment | None, dict[Location, list[Problem]]]:
    # JSON, because strict Python input would refuse lists and dates as text, and lax input takes `yes` for a number.
    try:
        return Environment.model_validate_json(json.dumps(source.values), strict=True), {}
    except ValidationError as error:
        details = [(_without_marks(detail["loc"]), detail) for detail in error.errors(include_url=False)]
        wrong: dict[Location, list[Problem]] = {}
        for location, detail in details:
            # A list whose items are all wrong is also counted as too short.
            inside = any(
                other[: len(location)] == location and len(other) > len(location) for other, _detail in details
            )
            if not (detail["type"] == "too_short" and inside):
                wrong.setdefault(location, []).append(_problem(source, location, detail))
        return None, wrong


def _without_marks(location: Location) -> Location:
    """Pydantic marks a wrong key of a mapping by ``[key]`` behind it."""
    return tuple(part for part in location if part != "[key]")


def _remainder(values: dict[str, Any], wrong: Iterable[Location]) -> tuple[Environment, set[str]]:
    """What is right in an environment that is not, so that the rest of it is checked in the same run.

    Returns:
        the environment without its wrong sections, and those sections of named entries, such as pools, which are
        there without their wrong entries.
    """
    wrong = set(wrong)
    kept = {key: value for key, value in values.items() if (key,) not in wrong and key in Environment.model_fields}
    partial = set()
    for section, entry in {(location[0], location[1]) for location in wrong if len(location) > 1}:
        if section not in kept:
            continue
        named = get_origin(Environment.model_fields[str(section)].annotation) is dict and isinstance(
            kept[section], dict
        )
        if named and kept[section].keys() - {entry}:
            kept[section] = {key: value for key, value in kept[section].items() if key != entry}
            partial.add(str(section))
        else:
            del kept[section]
            partial.discard(str(section))
    fields: Any = {key: (Environment.model_fields[key].annotation, Environment.model_fields[key]) for key in kept}
    right = create_model("Remainder", __base__=Settings, **fields).model_validate_json(json.dumps(kept), strict=True)
    return Environment.model_construct(**{key: getattr(right, key) for key in kept}), partial


def _problem(source: Source, location: Location, detail: Any) -> Problem:
    kind, given = detail["type"], detail["input"]
    around, meaning = _schema(location)
    if kind == "extra_forbidden":
        known = sorted(set(around.model_fields) if around else ())
        name = str(location[-1])
        fix = f"{did_you_mean(name, known)}the keys here are {', '.join(known)}"
        return source.problem(location, "This key is not known here.", fix)
    if kind == "missing":
        return source.problem(location, "This key is required.", f"add it; it is: {meaning}")
    if given is None:
        return source.problem(location, "It is empty.", f"give it a value or remove the key; it is: {meaning}")
    message = re.sub(r"^(Input|Tuple|Dictionary|String) (?=should )", "This ", str(detail["msg"]))
    fix = f"change {_shown(source, location, given)}"
    if kind == "literal_error":
        fix = did_you_mean(str(given), re.findall(r"'([^']*)'", detail["ctx"]["expected"])) + fix
    elif kind == "bool_type":
        fix = "write true or false"
    elif kind == "string_type" and location in source.texts:
        message, fix = "This should be a text.", f'write it in quotes: "{source.texts[location]}"'
    elif isinstance(given, str) and (network := _network(given)) is not None:
        message, fix = f"{given} is not the first address of a range.", f"write {network}"
    return source.problem(location, f"{message}.".replace("..", "."), f"{fix}; it is: {meaning}")


def _shown(source: Source, location: Location, given: Any) -> str:
    text = source.texts.get(location) or ascii(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _schema(location: Location) -> tuple[type[Settings] | None, str]:
    """The model whose key the last part of a location is, and what that key means."""
    annotation: Any = Environment
    around, meaning = None, "an environment"
    for part in location:
        annotation = _plain(annotation)
        around = annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None
        if around is not None:
            field = around.model_fields.get(str(part))
            annotation, meaning = (field.annotation, field.description or "") if field else (None, meaning)
        else:
            arguments = get_args(annotation)
            annotation = (arguments[-1] if get_origin(annotation) is dict else arguments[0]) if arguments else None
    return around, " ".join(meaning.split()).removesuffix(".") or "an environment"


def _plain(annotation: Any) -> Any:
    """``X`` of ``Annotated[X, ...]`` and of ``X | None``."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return annotation
