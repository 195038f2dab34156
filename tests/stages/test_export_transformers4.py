"""What tunery publishes loads in the transformers 4 of the server image's vLLM, and says the same there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.side_environment import ensure
from workloads.hub import open_hub
from workloads.hub.interface import ModelReference
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.stages.portable import make_portable
from workloads.stages.runner import planned, run_stages

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
SAY = """
import json, sys
packages, base, folder, questions = sys.argv[1:]
if packages:  # torch and peft, behind what is installed here
    sys.path.append(packages)
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
if base:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, folder)
said = []
for question in json.loads(questions):
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    said.append([ids[0].tolist(), made[0].tolist(), tokenizer.decode(made[0])])
print(json.dumps({"version": transformers.__version__, "said": said}))
"""
PYTHON, PACKAGES = Path(sysconfig.get_path("scripts")) / "python", sysconfig.get_path("purelib")
QUESTIONS = ["Say 3.", "Say 41: \u00e4\u4e2d\U0001f600 <|im_end|>"]


def locked(name: str) -> str:
    """The version of transformers in a lock."""
    found = re.search(r"^transformers==(\S+)", (REQUIREMENTS / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def say(python: Path, packages: str, base: Path | None, folder: Path) -> dict[str, Any]:
    """What a model answers, greedily, to the questions in a process of its own."""
    answer: dict[str, Any] = result(python, SAY, packages, str(base or ""), str(folder), json.dumps(QUESTIONS))
    return answer


def result(python: Path, code: str, *arguments: str) -> Any:
    """What a program prints last, as JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(python), "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_version_is_the_one_of_the_server_image() -> None:
    assert locked("transformers4.txt") == locked("server.txt")


@pytest.mark.transformers4
@pytest.mark.parametrize("merge", [True, False])
def test_a_published_model_says_the_same_in_vllms_transformers(
    make_run: Callable[..., RunPaths], built_tiny_model: Path, tmp_path: Path, merge: bool
) -> None:
    context = RunContext.open(make_run({}, {"export": {"merge": merge}, "publish": {"name": "team/numbers"}}).root)
    run_stages(context, planned(context))
    folder = tmp_path / "fetched"
    hub = open_hub()
    hub.fetch(hub.resolve(ModelReference.parse("team/numbers@candidate")), folder)
    base = None if merge else built_tiny_model
    ours = say(PYTHON, "", base, folder)
    theirs = say(ensure("transformers4") / "python", PACKAGES, base, folder)
    assert (theirs["version"], ours["version"]) == (locked("transformers4.txt"), locked("all.txt"))
    assert theirs["said"] == ours["said"]
    untrained = say(PYTHON, "", None, built_tiny_model)
    assert ours["said"] != untrained["said"]  # so what is compared is what was trained


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 32, "rope_theta": 5e5}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e6}
FULL, SLIDING = {"rope_type": "default", "rope_theta": 1e6}, {"rope_type": "default", "rope_theta": 2e4}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": LLAMA3},
    "mistral": {"rope_parameters": FULL},
    "qwen2": {"rope_parameters": YARN},
    "qwen3": {"rope_parameters": FULL, "head_dim": 8},
    "gemma3_text": {"rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING}, "head_dim": 8},
    "phi3": {"rope_parameters": {**FULL, "partial_rotary_factor": 0.5}, "pad_token_id": 0},
}
SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128}
LOGITS = """
import json, sys
packages, *folders = sys.argv[1:]
if packages:
    sys.path.append(packages)
import torch
from transformers import AutoModelForCausalLM
ids = torch.arange(100).remainder(61)[None]
found = {}
for folder in folders:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        found[folder] = model(ids).logits[0, -1].tolist()
print(json.dumps(found))
"""


@pytest.mark.transformers4
def test_a_rotary_embedding_means_the_same_in_vllms_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    plain: dict[str, str] = {}
    portable: dict[str, str] = {}
    for kind, values in CONFIGS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **values, initializer_range=0.5))
        for found, form in ((plain, "plain"), (portable, "portable")):
            found[kind] = str(tmp_path / f"{kind}-{form}")
            model.save_pretrained(found[kind])
        make_portable(Path(portable[kind]))
    ours = result(PYTHON, LOGITS, "", *plain.values(), *portable.values())
    theirs = result(ensure("transformers4") / "python", LOGITS, PACKAGES, *plain.values(), *portable.values())
    for kind in CONFIGS:
        assert ours[portable[kind]] == pytest.approx(ours[plain[kind]], abs=1e-5), kind
        assert theirs[portable[kind]] == pytest.approx(ours[plain[kind]], abs=1e-4), kind
        assert theirs[plain[kind]] != pytest.approx(ours[plain[kind]], abs=1e-2), kind  # what would go wrong
