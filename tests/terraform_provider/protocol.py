"""The messages and methods of Terraform's plugin protocol 6 that the provider uses.

They are built from a table at import, so neither protoc nor a copy of the .proto is needed. Names, types and numbers
are those of ``docs/plugin-protocol/tfplugin6.8.proto`` in Terraform's repository; fields that are left out here are
skipped by protobuf when Terraform sends them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tfplugin6"

MESSAGES: dict[str, str] = {
    "DynamicValue": "bytes msgpack=1, bytes json=2",
    "Step": "string attribute_name=1, string element_key_string=2, int64 element_key_int=3",
    "AttributePath": "repeated Step steps=1",
    "Diagnostic": "int32 severity=1, string summary=2, string detail=3, AttributePath attribute=4",
    "RawState": "bytes json=1",
    "Attribute": "string name=1, bytes type=2, bool required=4, bool optional=5, bool computed=6, bool sensitive=7",
    "NestedBlock": "string type_name=1, Block block=2, int32 nesting=3, int64 min_items=4, int64 max_items=5",
    "Block": "int64 version=1, repeated Attribute attributes=2, repeated NestedBlock block_types=3",
    "Schema": "int64 version=1, Block block=2",
    "SchemaEntry": "string key=1, Schema value=2",
    "ServerCapabilities": "bool plan_destroy=1, bool get_provider_schema_optional=2",
    "TypeName": "string type_name=1",
    "Empty": "",
    "GetMetadataResponse": "ServerCapabilities server_capabilities=1, repeated Diagnostic diagnostics=2, "
    "repeated TypeName data_sources=3, repeated TypeName resources=4",
    "GetProviderSchemaResponse": "Schema provider=1, repeated SchemaEntry resource_schemas=2, "
    "repeated SchemaEntry data_source_schemas=3, repeated Diagnostic diagnostics=4, "
    "ServerCapabilities server_capabilities=6",
    "ValidateProviderConfigRequest": "DynamicValue config=1",
    "ValidateProviderConfigResponse": "repeated Diagnostic diagnostics=2",
    "ValidateRequest": "string type_name=1, DynamicValue config=2",
    "ValidateResponse": "repeated Diagnostic diagnostics=1",
    "UpgradeResourceStateRequest": "string type_name=1, int64 version=2, RawState raw_state=3",
    "UpgradeResourceStateResponse": "DynamicValue upgraded_state=1, repeated Diagnostic diagnostics=2",
    "ConfigureProviderRequest": "string terraform_version=1, DynamicValue config=2",
    "ConfigureProviderResponse": "repeated Diagnostic diagnostics=1",
    "ReadResourceRequest": "string type_name=1, DynamicValue current_state=2, bytes private=3",
    "ReadResourceResponse": "DynamicValue new_state=1, repeated Diagnostic diagnostics=2, bytes private=3",
    "PlanResourceChangeRequest": "string type_name=1, DynamicValue prior_state=2, DynamicValue proposed_new_state=3, "
    "DynamicValue config=4",
    "PlanResourceChangeResponse": "DynamicValue planned_state=1, repeated AttributePath requires_replace=2, "
    "bytes planned_private=3, repeated Diagnostic diagnostics=4",
    "ApplyResourceChangeRequest": "string type_name=1, DynamicValue prior_state=2, DynamicValue planned_state=3, "
    "DynamicValue config=4",
    "ApplyResourceChangeResponse": "DynamicValue new_state=1, bytes private=2, repeated Diagnostic diagnostics=3",
    "ImportedResource": "string type_name=1, DynamicValue state=2, bytes private=3",
    "ImportResourceStateRequest": "string type_name=1, string id=2",
    "ImportResourceStateResponse": "repeated ImportedResource imported_resources=1, repeated Diagnostic diagnostics=2",
    "ReadDataSourceRequest": "string type_name=1, DynamicValue config=2",
    "ReadDataSourceResponse": "DynamicValue state=1, repeated Diagnostic diagnostics=2",
    "StopProviderResponse": "string Error=1",
}
"""Message -> its fields as in a .proto. Maps are repeated entries, enums int32 and oneofs plain fields: the same bytes
on the wire."""

METHODS: dict[str, tuple[str, str]] = {
    "GetMetadata": ("Empty", "GetMetadataResponse"),
    "GetProviderSchema": ("Empty", "GetProviderSchemaResponse"),
    "ValidateProviderConfig": ("ValidateProviderConfigRequest", "ValidateProviderConfigResponse"),
    "ValidateResourceConfig": ("ValidateRequest", "ValidateResponse"),
    "ValidateDataResourceConfig": ("ValidateRequest", "ValidateResponse"),
    "UpgradeResourceState": ("UpgradeResourceStateRequest", "UpgradeResourceStateResponse"),
    "ConfigureProvider": ("ConfigureProviderRequest", "ConfigureProviderResponse"),
    "ReadResource": ("ReadResourceRequest", "ReadResourceResponse"),
    "PlanResourceChange": ("PlanResourceChangeRequest", "PlanResourceChangeResponse"),
    "ApplyResourceChange": ("ApplyResourceChangeRequest", "ApplyResourceChangeResponse"),
    "ImportResourceState": ("ImportResourceStateRequest", "ImportResourceStateResponse"),
    "ReadDataSource": ("ReadDataSourceRequest", "ReadDataSourceResponse"),
    "StopProvider": ("Empty", "StopProviderResponse"),
}
"""Method of the service ``tfplugin6.Provider`` -> the messages that it takes and gives."""

SERVICE = f"{_PACKAGE}.Provider"
ERROR = 1
"""Diagnostic.Severity."""
SINGLE, LIST, SET = 1, 2, 3
"""Schema.NestedBlock.NestingMode."""


def _field(message: descriptor_pb2.DescriptorProto, declaration: str) -> None:
    left, number = declaration.split("=")
    *repeated, kind, name = left.split()
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind in MESSAGES:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    # Whether an index of 0 was sent, or none, is told apart only with presence, which a oneof gives.
    if message.name == "Step":
        field.oneof_index = 0


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tfplugin6.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "Step":
            message.oneof_decl.add(name="selector")
        for declaration in filter(None, fields.split(", ")):
            _field(message, declaration)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in MESSAGES
    }


message: dict[str, Any] = _build()
"""Message name -> its class."""
