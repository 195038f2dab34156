"""`tunery serve` and `tunery chat` as a person or a script calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from workloads.cli.main import main
from workloads.errors import ExitCode
from workloads.serving.server import bind

_LIGHT = "import sys; from workloads.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"


def _tunery(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from workloads.cli.main import main; main()", *arguments]


@pytest.mark.parametrize("arguments", [["serve", "nobody/knows"], ["chat", "nobody/knows", "--ask", "hello"]])
def test_an_unknown_model_is_said_before_anything_heavy_is_imported(arguments: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _LIGHT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.INPUT
    assert "nobody/knows" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "False\n"


def test_a_port_in_use_ends_with_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    with bind("127.0.0.1", 0) as taken, pytest.raises(SystemExit) as ended:
        main(["serve", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert ended.value.code == ExitCode.UNAVAILABLE
    assert "is in use" in capsys.readouterr().err


def test_a_key_can_not_be_given_as_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "bot", "--api-key", "secret"])
    assert ended.value.code == ExitCode.INPUT


@pytest.mark.training
def test_serve_loads_answers_and_leaves_when_it_is_told(built_tiny_model: Path) -> None:
    import httpx
    from openai import OpenAI

    command = _tunery("serve", str(built_tiny_model), "--port", "0", "--json", "--host", "0.0.0.0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert told["model"] == built_tiny_model.name
        url = told["url"].replace("0.0.0.0", "127.0.0.1")
        notes = [process.stderr.readline() for _ in range(2)]
        assert "set TUNERY_API_KEY" in notes[0]
        assert "Loading" in notes[1]
        while (health := httpx.get(f"{url}/health")).status_code == 503:
            assert health.json()["status"] == "loading"
        assert health.json()["status"] == "ok"
        client = OpenAI(base_url=f"{url}/v1", api_key="none")
        messages = [{"role": "user", "content": "Who looks after checkout?"}]
        answer = client.chat.completions.create(model=told["model"], messages=messages, max_tokens=4, temperature=0)  # type: ignore[arg-type]
        assert answer.usage is not None
        assert 1 <= answer.usage.completion_tokens <= 4
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        rest = process.stderr.read()
    assert rest.startswith(f"Serving {built_tiny_model.name} at ")
    assert len(rest.splitlines()) == 1, "nothing of the libraries may show"


@pytest.mark.training
def test_chat_answers_every_line_of_its_input_and_shows_nothing_else(built_tiny_model: Path) -> None:
    done = subprocess.run(
        _tunery("chat", str(built_tiny_model), "--json", "--max-tokens", "5"),
        input="Who looks after checkout?\n\nWho looks after billing?\n",
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["question"] for answer in answers] == ["Who looks after checkout?", "Who looks after billing?"]
    assert answers[0]["prompt_tokens"] > 0
    assert all(answer["finish_reason"] in ("stop", "length") for answer in answers)
    assert [line for line in done.stderr.splitlines() if not line.startswith("Loading")] == []
