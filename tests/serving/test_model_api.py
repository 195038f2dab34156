"""A real model behind a real socket, asked by OpenAI's own client."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from workloads.errors import InputError
from workloads.serving.app import create_app
from workloads.serving.engine import load_engine
from workloads.serving.interface import Sampling
from workloads.serving.server import serving

pytestmark = pytest.mark.training

KEY = "sesame"
QUESTION: Any = [{"role": "user", "content": "Who looks after the checkout service?"}]


@pytest.fixture(scope="module")
def engine(built_tiny_model: Path) -> Any:
    return load_engine(built_tiny_model)


@pytest.fixture(scope="module")
def url(engine: Any) -> Iterator[str]:
    with serving(create_app(engine, model_name="tiny@v1", api_key=KEY)) as base:
        yield f"{base}/v1"


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


def test_the_official_client_lists_asks_and_streams(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny@v1"]
    whole = client.chat.completions.create(model="tiny@v1", messages=QUESTION, temperature=0, max_tokens=40)
    stream = client.chat.completions.create(
        model="tiny@v1",
        messages=QUESTION,
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content != ""
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_short_limit_is_length_and_counts_exactly(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny@v1", messages=QUESTION, temperature=0, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_a_limit_beyond_the_context_is_cut_to_it(engine: Any) -> None:
    hot = engine.complete(QUESTION, Sampling(max_new_tokens=10**6, temperature=2.0, seed=1))
    assert hot.prompt_tokens + hot.completion_tokens <= 256


def test_a_stop_text_ends_the_answer_before_itself(client: OpenAI) -> None:
    ask: Any = {"model": "tiny@v1", "messages": QUESTION, "temperature": 0, "max_tokens": 40}
    whole = client.chat.completions.create(**ask).choices[0].message.content
    assert whole is not None
    stop = whole[len(whole) // 2 :][:3]
    cut = client.chat.completions.create(**ask, stop=[stop, "never said"])
    assert cut.choices[0].message.content == whole.partition(stop)[0]
    assert cut.choices[0].finish_reason == "stop"


def test_a_seed_gives_the_same_answer_and_choices_differ(client: OpenAI) -> None:
    ask: Any = {"model": "tiny@v1", "messages": QUESTION, "temperature": 1.5, "max_tokens": 20, "seed": 7, "n": 4}
    first, again = (client.chat.completions.create(**ask) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1


def test_errors_are_the_clients_own_exceptions(client: OpenAI, url: str) -> None:
    ask: Any = {"messages": QUESTION, "max_tokens": 1}
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError, match="tiny@v1"):
        client.chat.completions.create(model="other", **ask)
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="tiny@v1", temperature=3, **ask)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="tiny@v1", messages=[{"role": "user", "content": "word " * 500}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(model="tiny@v1", messages=[{"role": "user", "content": "x" * (2 << 20)}])
    assert large.value.status_code == 413


def test_sixteen_clients_at_once_get_what_one_alone_gets(client: OpenAI) -> None:
    def ask(index: int) -> str | None:
        messages: Any = [{"role": "user", "content": f"Who looks after service {index % 4}?"}]
        answer = client.chat.completions.create(model="tiny@v1", messages=messages, temperature=0, max_tokens=16)
        return answer.choices[0].message.content

    alone = [ask(index) for index in range(4)]
    with ThreadPoolExecutor(16) as clients:
        together = list(clients.map(ask, range(16)))
    assert together == alone * 4


def test_greedy_answers_are_those_of_the_evaluation(engine: Any, built_tiny_model: Path) -> None:
    from workloads.training.answers import generate
    from workloads.training.loading import load

    questions = ["Who looks after checkout?", "Where does billing run?"]
    expected = generate(load({}, built_tiny_model), questions, max_new_tokens=24)
    answers = [
        engine.complete([{"role": "user", "content": each}], Sampling(max_new_tokens=24)).text for each in questions
    ]
    assert [answer.strip() for answer in answers] == expected


def test_an_adapter_on_its_base_answers_as_the_two_merged(engine: Any, built_tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(built_tiny_model)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        adapted = get_peft_model(base, config)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = shutil.copytree(built_tiny_model, tmp_path / "merged")
    adapted.merge_and_unload().save_pretrained(merged)
    answers = [
        each.complete(QUESTION, Sampling(max_new_tokens=16)).text
        for each in (engine, load_engine(tmp_path / "adapter", None, built_tiny_model), load_engine(merged))
    ]
    assert answers[1] == answers[2] != answers[0]


def test_what_does_not_load_is_an_input_error(built_tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="does not load"):
        load_engine(tmp_path)
    with pytest.raises(InputError, match="no chat template 'lama3'") as unknown:
        load_engine(built_tiny_model, "lama3")
    assert unknown.value.problems[0].suggestion == "llama3"
    with pytest.raises(InputError, match="reward model"):
        load_engine(built_tiny_model, config={"stage": "rm"})


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_sampling_draws_from_the_softmax(temperature: float, top_p: float) -> None:
    import torch

    from workloads.serving.engine import _Sampler

    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    sampler = _Sampler(Sampling(temperature=temperature, top_p=top_p, seed=3), logits.device)
    draws = 4000
    counts = Counter(int(sampler(None, logits).argmax()) for _ in range(draws))
    wanted = torch.softmax(logits[0] / temperature, 0)
    if top_p < 1:
        wanted = torch.where(wanted == wanted.max(), 1.0, 0.0)  # the likeliest alone has 0.64 of the mass
    for token, share in enumerate(wanted.tolist()):
        assert counts[token] / draws == pytest.approx(share, abs=0.03)
