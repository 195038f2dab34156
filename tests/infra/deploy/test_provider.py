"""The test provider is as strict as it says: its schema is the bindings', and its tables name what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terraform_provider import documented, identity
from terraform_provider.protocol import LIST, SINGLE, message
from terraform_provider.rules import AtMostOneOf, Between, Matches, OneOf, Rule, When
from terraform_provider.values import UNKNOWN, decode, encode, find


@pytest.fixture(scope="module")
def google(installed: Path) -> Any:
    return message["GetProviderSchemaResponse"].FromString((installed / "google.schema").read_bytes())


@pytest.fixture(scope="module")
def blocks(google: Any) -> dict[str, Any]:
    return {each.key: each.value.block for each in google.resource_schemas}


def lookup(block: Any, path: str) -> Any:
    """The attribute or block at a dotted path."""
    head, _, rest = path.partition(".")
    for each in block.attributes:
        if each.name == head and not rest:
            return each
    for each in block.block_types:
        if each.type_name == head:
            return lookup(each.block, rest) if rest else each
    raise KeyError(path)


def test_the_schema_is_that_of_every_type_of_the_bindings(google: Any, installed: Path) -> None:
    assert len(google.resource_schemas) == 1096
    assert len(google.data_source_schemas) > 300
    plugins = {path.name for path in (installed / "mirror").rglob("terraform-provider-*")}
    assert plugins == {"terraform-provider-google_v6.50.0", "terraform-provider-helm_v3.1.1"}


def test_attributes_and_blocks_nest_as_the_real_provider_says(blocks: dict[str, Any], installed: Path) -> None:
    cluster = blocks["google_container_cluster"]
    assert lookup(cluster, "name").required
    assert lookup(cluster, "location").optional
    assert lookup(cluster, "location").computed
    endpoint = lookup(cluster, "endpoint")
    assert endpoint.computed
    assert not endpoint.optional
    assert json.loads(lookup(cluster, "node_locations").type) == ["set", "string"]
    assert json.loads(lookup(cluster, "resource_labels").type) == ["map", "string"]
    channel = lookup(cluster, "release_channel")
    assert (channel.nesting, channel.max_items) == (LIST, 1)
    assert lookup(cluster, "release_channel.channel").required
    assert lookup(cluster, "timeouts").nesting == SINGLE
    assert lookup(blocks["google_storage_bucket"], "lifecycle_rule").max_items == 0
    helm = message["GetProviderSchemaResponse"].FromString((installed / "helm.schema").read_bytes())
    assert lookup(helm.provider.block, "kubernetes.exec").nesting == SINGLE


def paths(rule: Rule) -> Iterator[str]:
    """Every path that a rule speaks of."""
    prefix = f"{within}." if (within := getattr(rule, "within", "")) else ""
    if prefix:
        yield within
    for field in fields(rule):  # type: ignore[arg-type]
        if field.name in ("path", "names", "requires", "forbids"):
            yield from (prefix + name for name in getattr(rule, field.name).split())


@pytest.mark.parametrize("kind", documented.RULES)
def test_a_rule_speaks_of_attributes_that_exist(kind: str, blocks: dict[str, Any]) -> None:
    for rule in documented.RULES[kind]:
        for path in paths(rule):
            assert lookup(blocks[kind], path), path


def test_identities_speak_of_attributes_that_exist(blocks: dict[str, Any]) -> None:
    for kind in blocks:
        for path in identity.replaces(kind, blocks[kind]):
            assert lookup(blocks[kind], path), (kind, path)


@pytest.mark.parametrize(
    ("rule", "fine", "wrong"),
    [
        (OneOf("a.b", "X Y"), {"a": [{"b": "X"}, {"b": None}]}, {"a": [{"b": "X"}, {"b": "Z"}]}),
        (OneOf("a", "X Y"), {"a": ["X", "Y"]}, {"a": ["X", "Z"]}),
        (Matches("a", "x+", "some x"), {"a": "xx"}, {"a": "xxy"}),
        (Between("a", 1, 3, other=(0,)), {"a": 0}, {"a": 4}),
        (AtMostOneOf("a b.c"), {"a": 1, "b": [{"c": False}]}, {"a": 1, "b": [{"c": True}]}),
        (AtMostOneOf("a b", exactly=True), {"a": 1, "b": None}, {"a": None, "b": []}),
        (AtMostOneOf("a b", within="x"), {"x": [{"a": 1}, {"b": 1}]}, {"x": [{"a": 1, "b": 1}]}),
        (When("a", 1, requires="b"), {"a": 2, "b": None}, {"a": 1, "b": None}),
        (When("a", 1, forbids="b"), {"a": 2, "b": 1}, {"a": 1, "b": 1}),
    ],
)
def test_a_rule_tells_wrong_from_fine(rule: Rule, fine: dict[str, Any], wrong: dict[str, Any]) -> None:
    assert list(rule.check(fine)) == []
    assert len(list(rule.check(wrong))) == 1


@pytest.mark.parametrize("kind", documented.RULES)
def test_what_is_not_known_yet_breaks_no_enum(kind: str) -> None:
    for rule in documented.RULES[kind]:
        if isinstance(rule, OneOf | Matches | Between) and "." not in rule.path:
            assert list(rule.check({rule.path: UNKNOWN})) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53) | st.just(UNKNOWN),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_values_come_back_from_the_wire(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.lists(st.integers()))
def test_a_path_finds_every_element(numbers: list[int]) -> None:
    found = list(find({"a": [{"b": each} for each in numbers]}, "a.b"))
    assert found == [(("a", index, "b"), each) for index, each in enumerate(numbers)]
