"""The provider's methods: what Terraform asks of it, answered from the schema, the rules and the cloud."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from terraform_provider import identity
from terraform_provider.cloud import Cloud, RefusedError
from terraform_provider.documented import rules
from terraform_provider.protocol import ERROR, SINGLE, message
from terraform_provider.values import UNKNOWN, attribute_path, conform, decode, encode, find

Values = dict[str, Any]


class Provider:
    """Stands in for one provider. ``schema`` is its ``GetProviderSchemaResponse``."""

    def __init__(self, schema: Any, cloud: Cloud) -> None:
        self._schema = schema
        self._resources = {each.key: each.value.block for each in schema.resource_schemas}
        self._data = {each.key: each.value.block for each in schema.data_source_schemas}
        self._cloud = cloud
        self._configuration: Values = {}

    def _shelf(self, kind: str) -> str:
        """Where the cloud keeps a type: Helm's releases are of one cluster, and the others tell their project."""
        cluster = self._configuration.get("kubernetes")
        return f"{kind} on {cluster['host']}" if cluster else kind

    def GetMetadata(self, _request: Any) -> Any:  # noqa: N802
        """Which types there are."""
        types = message["TypeName"]
        return message["GetMetadataResponse"](
            server_capabilities=self._schema.server_capabilities,
            resources=[types(type_name=name) for name in self._resources],
            data_sources=[types(type_name=name) for name in self._data],
        )

    def GetProviderSchema(self, _request: Any) -> Any:  # noqa: N802
        """The whole schema."""
        return self._schema

    def ValidateProviderConfig(self, _request: Any) -> Any:  # noqa: N802
        """Nothing beyond the types."""
        return message["ValidateProviderConfigResponse"]()

    def ValidateResourceConfig(self, request: Any) -> Any:  # noqa: N802
        """The documented rules."""
        values = decode(request.config)
        found = [refusal for rule in rules(request.type_name) for refusal in rule.check(values)]
        return message["ValidateResponse"](diagnostics=[_diagnostic(text, place) for place, text in found])

    def ValidateDataResourceConfig(self, _request: Any) -> Any:  # noqa: N802
        """Nothing beyond the types."""
        return message["ValidateResponse"]()

    def UpgradeResourceState(self, request: Any) -> Any:  # noqa: N802
        """The state as it is: it was written by this schema, or by one that differs in attributes that come or go."""
        values = conform(self._resources[request.type_name], json.loads(request.raw_state.json))
        return message["UpgradeResourceStateResponse"](upgraded_state=encode(values))

    def ConfigureProvider(self, request: Any) -> Any:  # noqa: N802
        """Keeps the project and region that resources fall back to."""
        self._configuration = decode(request.config)
        return message["ConfigureProviderResponse"]()

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        """What the cloud has now; null when the resource is gone."""
        state = decode(request.current_state)
        values = self._cloud.read(self._shelf(request.type_name), state["id"])
        if values is not None:
            values = conform(self._resources[request.type_name], values)
        return message["ReadResourceResponse"](new_state=encode(values), private=request.private)

    def PlanResourceChange(self, request: Any) -> Any:  # noqa: N802
        """The proposed state with what is computed: kept on a change, to be known after the apply on creation."""
        kind, block = request.type_name, self._resources[request.type_name]
        prior, proposed = decode(request.prior_state), decode(request.proposed_new_state)
        replaced: list[Any] = []
        if proposed is not None:
            for path, attribute, holder in _computed(block, proposed):
                if path in identity.FOLLOW_OTHERS or (prior is None and holder[attribute.name] is None):
                    holder[attribute.name] = identity.planned(kind, path, proposed, self._configuration)
            if prior is not None:
                replaced = _changes(prior, proposed, identity.replaces(kind, block))
        return message["PlanResourceChangeResponse"](
            planned_state=encode(proposed), requires_replace=[attribute_path(place) for place in replaced]
        )

    def ApplyResourceChange(self, request: Any) -> Any:  # noqa: N802
        """Makes the change in the cloud. What fails leaves Terraform's state as it was before."""
        kind, block = request.type_name, self._resources[request.type_name]
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        try:
            if planned is None:
                self._cloud.delete(self._shelf(kind), prior)
            else:
                if planned["id"] is UNKNOWN:
                    planned["id"] = identity.resource_id(kind, planned)
                for path, attribute, holder in _computed(block, planned):
                    if holder[attribute.name] is UNKNOWN:
                        holder[attribute.name] = identity.computed(kind, path, attribute.type, planned)
                (self._cloud.create if prior is None else self._cloud.update)(self._shelf(kind), planned)
        except RefusedError as refused:
            error = _diagnostic(str(refused))
            return message["ApplyResourceChangeResponse"](new_state=encode(prior), diagnostics=[error])
        return message["ApplyResourceChangeResponse"](new_state=encode(planned))

    def ImportResourceState(self, request: Any) -> Any:  # noqa: N802
        """A resource by its id."""
        kind = request.type_name
        values = self._cloud.read(self._shelf(kind), request.id)
        if values is None:
            error = _diagnostic(f"Cannot import non-existent remote object: {kind} {request.id}")
            return message["ImportResourceStateResponse"](diagnostics=[error])
        imported = message["ImportedResource"](type_name=kind, state=encode(conform(self._resources[kind], values)))
        return message["ImportResourceStateResponse"](imported_resources=[imported])

    def ReadDataSource(self, request: Any) -> Any:  # noqa: N802
        """What the cloud has, where the data source is about a resource; facts that follow from the project else."""
        kind, block = request.type_name, self._data[request.type_name]
        values = decode(request.config)
        for name in identity.DEFAULTS:
            if name in values and values[name] is None:
                values[name] = identity.planned(kind, name, values, self._configuration)
        if identity.is_kept(kind):
            identifier = identity.resource_id(kind, values)
            found = self._cloud.read(kind, identifier)
            if found is None:
                error = _diagnostic(f"googleapi: Error 404: Not found: {identifier}., notFound")
                return message["ReadDataSourceResponse"](diagnostics=[error])
            present = {name: value for name, value in found.items() if value not in (None, [])}
            values = {**identity.READ_BACK.get(kind, {}), **present}
        else:
            known = {name: value for name, value in values.items() if value is not None}
            facts = {**self._configuration, **known}
            facts["project"] = known.get("project_id") or facts.get("project")
            facts["id"] = values["id"] = f"projects/{facts['project']}"
            for each in block.attributes:
                if each.computed and values.get(each.name) is None:
                    values[each.name] = identity.computed(kind, each.name, each.type, facts)
        return message["ReadDataSourceResponse"](state=encode(conform(block, values)))

    def StopProvider(self, _request: Any) -> Any:  # noqa: N802
        """Nothing runs for long enough to be stopped."""
        return message["StopProviderResponse"]()


def _diagnostic(text: str, place: tuple[str | int, ...] = ()) -> Any:
    path = attribute_path(place) if place else None
    return message["Diagnostic"](severity=ERROR, summary=text, attribute=path)


def _computed(block: Any, values: Values, prefix: str = "") -> Iterator[tuple[str, Any, Values]]:
    """Every computed attribute of a value, in its blocks too: dotted path, schema, and the dict that holds it."""
    for each in block.attributes:
        if each.computed:
            yield f"{prefix}{each.name}", each, values
    for each in block.block_types:
        inner = values[each.type_name]
        for item in [inner] if each.nesting == SINGLE else inner:
            if item is not None and item is not UNKNOWN:
                yield from _computed(each.block, item, f"{prefix}{each.type_name}.")


def _changes(prior: Values, proposed: Values, paths: Iterable[str]) -> list[tuple[str | int, ...]]:
    """The places under the paths whose value changes."""
    changed = []
    for path in paths:
        before, after = dict(find(prior, path)), dict(find(proposed, path))
        changed += [place for place in {**before, **after} if before.get(place) != after.get(place)]
    return changed
