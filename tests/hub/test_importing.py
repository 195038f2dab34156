from __future__ import annotations

import json

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from workloads.errors import InputError
from workloads.hub.importing import _broken_safetensors, import_folder

CONFIG = json.dumps({"model_type": "llama"}).encode()


@pytest.fixture
def files(safetensors):
    return {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": safetensors}


def refused(hub, folder, **options):
    with pytest.raises(InputError) as error:
        import_folder(hub, folder, "model", **options)
    assert hub.models() == []
    return [problem.message for problem in error.value.problems]


def test_a_base_model_is_added_with_an_empty_lineage(hub, make_folder, files):
    version = import_folder(hub, make_folder(files), "org/model", version="v3", aliases=["production"])
    assert (version.reference, version.aliases, hub.lineage(version)) == ("org/model@v3", ("production",), {})


def test_a_folder_that_is_not_a_model_gets_one_message(hub, make_folder):
    folder = make_folder({"notes.txt": b"x", "old/weights.bin": b"x"})
    assert refused(hub, folder) == ["The folder is not a model: it has no config.json."]
    assert refused(hub, folder / "none") == ["There is no such folder."]


def test_an_adapter_is_no_base_model(hub, make_folder, safetensors):
    folder = make_folder({"adapter_config.json": b"{}", "adapter_model.safetensors": safetensors})
    assert refused(hub, folder) == ["This is a LoRA adapter, which is no base model."]


def test_everything_that_is_wrong_is_said_at_once(hub, make_folder):
    messages = refused(hub, make_folder({"config.json": b"[]"}))
    assert messages == [
        "It does not describe a model: it is not JSON with a model_type.",
        "The folder has no tokenizer.",
        "The folder has no weights.",
    ]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "x/y.pt", "a.pkl", "b.ckpt"])
def test_pickle_is_refused_unless_allowed(hub, make_folder, files, name):
    folder = make_folder(files | {name: b"x"})
    assert refused(hub, folder) == [f"Pickle files can run any code on the machine that loads them: {name}."]
    assert import_folder(hub, folder, "model", allow_pickle=True).version == "v1"


def test_pickle_alone_counts_as_weights_when_allowed(hub, make_folder, files):
    folder = make_folder({"config.json": CONFIG, "tokenizer.model": b"x", "pytorch_model.bin": b"x"})
    assert import_folder(hub, folder, "model", allow_pickle=True).version == "v1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"", "not a whole safetensors file"),
        (b"\xff" * 50, "not a whole safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "its header is broken"),
        ((2).to_bytes(8, "little") + b"{]", "its header is broken"),
    ],
)
def test_weights_that_are_no_weights_are_refused(hub, make_folder, files, content, message):
    (found,) = refused(hub, make_folder(files | {"model.safetensors": content}))
    assert message in found


def test_a_missing_shard_is_named(hub, make_folder, files):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    shard = {"model-1.safetensors": files.pop("model.safetensors")}
    folder = make_folder(files | shard | {"model.safetensors.index.json": json.dumps(index).encode()})
    assert refused(hub, folder) == ["It names model-2.safetensors, which is not there."]
    (folder / "model.safetensors.index.json").write_text("{}")
    assert refused(hub, folder) == ["It does not say which file has which weights."]


@given(sizes=st.lists(st.integers(0, 6), max_size=4), cut=st.integers(0, 400), data=st.data())
def test_weights_are_judged_as_the_real_library_judges_them(tmp_path_factory, sizes, cut, data):
    tensors = {f"t{number}": numpy.zeros(size, numpy.uint8) for number, size in enumerate(sizes)}
    whole = save(tensors, metadata={"format": "pt"})
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    path.write_bytes(whole)
    assert _broken_safetensors(path) is None
    for other_length in (whole[:-1][:cut], whole + bytes(cut + 1)):
        path.write_bytes(other_length)
        assert _broken_safetensors(path) is not None
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    path.write_bytes(changed)
    try:
        deserialize(changed)
    except SafetensorError:
        return  # we look at the frame only, and may take what the library will refuse
    assert _broken_safetensors(path) is None
