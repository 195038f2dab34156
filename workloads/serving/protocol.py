"""The part of OpenAI's chat completions protocol that the API speaks: what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import HTTPException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workloads.serving.interface import Completion, Sampling

MAX_CHOICES = 8
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
"""OpenAI's parameters that would change the answer and that no engine here can obey, with the values that ask for
nothing. Ignoring the others in silence would give a client another answer than it asked for."""
_WITHOUT_EFFECT = frozenset(
    ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user")
)
"""OpenAI's parameters that do not change the answer."""


class ApiError(HTTPException):
    """An answer other than 200, in OpenAI's shape."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code, self.param = code, param

    def body(self) -> dict[str, Any]:
        """``{"error": {"message", "type", "param", "code"}}``."""
        return {"error": {"message": self.detail, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def kind(self) -> str:
        """OpenAI's ``type`` for the status."""
        special = {401: "authentication_error", 429: "rate_limit_error", 503: "service_unavailable_error"}
        return special.get(self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error")


def _encodable(text: str) -> str:
    """JSON can escape half of a surrogate pair, which is no character and fails in every tokenizer."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("half of a surrogate pair is not text") from error
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class TextPart(BaseModel):
    """One part of a message's content; only text is understood."""

    type: Text
    text: Text = ""


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[TextPart]

    def plain(self, place: str) -> dict[str, str]:
        """Role and text as an engine wants them; ``place`` names the message in an error."""
        if self.role in ("tool", "function"):
            raise ApiError(422, "this server does not call tools", "unsupported", f"{place}.role")
        if isinstance(self.content, str):
            text = self.content
        else:
            other = next((part.type for part in self.content if part.type != "text"), None)
            if other is not None:
                raise ApiError(422, f"this model reads text, not {other!r}", "unsupported", f"{place}.content")
            text = "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    include_usage: bool = False


Stop = Annotated[Text, Field(min_length=1, max_length=256)]


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions. Null means the default, as in OpenAI's clients."""

    model_config = ConfigDict(extra="allow")

    model: Text
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _only_what_is_obeyed(self) -> ChatRequest:
        for name, value in (self.model_extra or {}).items():
            if name in _WITHOUT_EFFECT:
                continue
            if name not in _NEUTRAL:
                raise ApiError(400, _unknown(name, type(self).model_fields), "unknown_parameter", ascii(name)[1:-1])
            if value is not None and value not in _NEUTRAL[name]:
                raise ApiError(422, f"this server does not support {name!r}", "unsupported", name)
        return self

    @property
    def limit(self) -> int | None:
        """The most tokens of an answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, choice: int) -> Sampling:
        """How one of the answers is drawn; each has a seed of its own."""
        return Sampling(
            max_new_tokens=self.limit,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=self.stops,
            seed=None if self.seed is None else self.seed + choice,
        )

    def conversation(self) -> list[dict[str, str]]:
        """The messages: a system message at most, first; then user and assistant in turn, a user's last.

        Raises:
            ApiError: 400 for another order, since chat templates are trained on this one; 422 for tools and images.
        """
        plain = [message.plain(f"messages.{at}") for at, message in enumerate(self.messages)]
        first = 1 if plain[0]["role"] == "system" else 0
        for at, message in enumerate(plain[first:], start=first):
            expected = "user" if (at - first) % 2 == 0 else "assistant"
            if message["role"] != expected:
                raise ApiError(
                    400,
                    f"message {at} must be the {expected}'s, not the {message['role']}'s: after an optional system "
                    "message, user and assistant take turns",
                    "invalid_messages",
                    f"messages.{at}.role",
                )
        if plain[-1]["role"] != "user":
            raise ApiError(400, "the last message must be the user's", "invalid_messages", "messages")
        return plain


def _unknown(name: str, known: Any) -> str:
    from workloads.errors import did_you_mean

    near = did_you_mean(name, known)
    return f"unknown parameter {name!r}" + (f"; did you mean {near!r}?" if near else "")


def usage(completions: Sequence[Completion]) -> dict[str, int]:
    """Tokens of one request; its choices share one prompt."""
    prompt = completions[0].prompt_tokens
    generated = sum(each.completion_tokens for each in completions)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every object of one answer repeats. ``created`` counts seconds since 1970."""

    id: str
    created: int
    model: str
    fingerprint: str | None

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": each.text},
                "logprobs": None,
                "finish_reason": each.finish_reason,
            }
            for index, each in enumerate(completions)
        ]
        return self._object("chat.completion", choices) | {"usage": usage(completions)}

    def chunk(self, index: int, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        """One event of a stream."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._object("chat.completion.chunk", [choice])

    def usage_chunk(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The last event of a stream that includes usage."""
        return self._object("chat.completion.chunk", []) | {"usage": usage(completions)}

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }
