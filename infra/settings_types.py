"""The words in which an environment is described: the base of its models, and the types of its fields."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Capacity = Literal["on-demand", "spot", "flex-start", "reservation"]
OptionalSecret = Literal["hf-token", "wandb-key", "signing-key"]
Severity = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
LABEL = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
Name = Annotated[str, Field(pattern=LABEL, max_length=20)]
Zone = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+\d+-[a-z]$")]
PublicKeys = Annotated[
    str, Field(pattern=r"^(-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n?)+$")
]
Day = Annotated[date, Field(ge=date(2024, 1, 1), lt=date(2100, 1, 1))]


class Settings(BaseModel):
    """A frozen model that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
