from __future__ import annotations

import json
import os
import threading

import pytest
from artifactory import hostile

from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

BASE = os.urandom(200_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-1.safetensors": BASE,
    "model-2.safetensors": os.urandom(9000),
}
COMMIT = "ab" * 20
LINEAGE = {
    "run": "numbers-1a2b",
    "created": "2025-06-01T10:00:00+00:00",
    "team": "support",
    "git_commit": "cd" * 20,
    "config_digest": "ef" * 32,
    "training_config": {"stage": "sft", "learning_rate": 1e-4, "template": "qwen"},
    "base": {"model": "acme/base", "revision": COMMIT, "reference": f"acme/base@{COMMIT}"},
    "datasets": [{"name": "numbers", "sha256": "01" * 32}],
    "steps": 12,
    "seed": 42,
    "versions": {"llamafactory": "0.9.5"},
    "metrics": {"before": {"loss": 2.5}, "after": {"loss": 1.25}},
}
NAME = "team/bot"


@pytest.fixture
def hub(artifactory, open_artifactory):
    return open_artifactory(artifactory)


@pytest.fixture
def folder(make_folder):
    return make_folder(FILES)


def resolved(hub, text):
    return hub.resolve(ModelReference.parse(text))


def stored(artifactory, path):
    return artifactory.files("published")[path]


def test_a_version_comes_back_as_it_went_in(artifactory, hub, folder, tmp_path):
    moved = []
    version = hub.publish(folder, NAME, lineage=LINEAGE, aliases=["candidate"], on_bytes=moved.append)
    assert (version.version, version.aliases, sum(moved)) == ("v1", ("candidate",), version.size)
    assert resolved(hub, f"{NAME}@candidate") == resolved(hub, NAME) == resolved(hub, f"{NAME}@{version.revision}")
    assert hub.models() == [version]
    assert hub.lineage(version) == LINEAGE
    hub.fetch(version, tmp_path / "back")
    assert {path: (tmp_path / "back" / path).read_bytes() for path in FILES} == FILES
    assert manifest.read(tmp_path / "back").digest == version.digest
    assert hub.read(version, "config.json") == FILES["config.json"]


def test_the_record_is_written_last_and_after_everything_else(artifactory, hub, folder):
    hub.publish(folder, NAME, lineage=LINEAGE)
    put = [each.path for each in artifactory.requests if each.method == "PUT"]
    assert put[-1].endswith("/tunery-manifest.json")
    assert {path.rpartition("/")[2] for path in put} > {"lineage.json", "README.md", "provenance.json", *FILES}


def test_lineage_is_a_file_and_properties_of_every_file(artifactory, hub, folder):
    hub.publish(folder, NAME, lineage=LINEAGE)
    assert json.loads(stored(artifactory, f"{NAME}/v1/lineage.json")) == LINEAGE
    for path in FILES:
        found = artifactory.properties("published", f"{NAME}/v1/{path}")
        assert found["tunery.run"] == ["numbers-1a2b"]
        assert found["tunery.base"] == ["acme/base"]
        assert found["tunery.base_revision"] == [COMMIT]


def test_the_model_card_tells_what_was_trained_and_measured(artifactory, hub, folder):
    hub.publish(folder, NAME, lineage=LINEAGE)
    card = stored(artifactory, f"{NAME}/v1/README.md").decode()
    for text in ('base_model: "acme/base"', "| loss | 2.5 | 1.25 |", "12 steps", "| learning_rate | 0.0001 |", COMMIT):
        assert text in card


def test_a_models_own_card_stays(artifactory, hub, make_folder):
    hub.publish(make_folder({**FILES, "README.md": b"# Mine"}), NAME, lineage={})
    assert stored(artifactory, f"{NAME}/v1/README.md") == b"# Mine"


def test_a_second_version_sends_only_what_is_new(artifactory, hub, folder, make_folder):
    hub.publish(folder, NAME, lineage=LINEAGE)
    before = len(artifactory.requests)
    second = hub.publish(make_folder({**FILES, "model-2.safetensors": b"new"}), NAME, lineage=LINEAGE)
    assert second.version == "v2"
    sent = sum(int(each.headers.get("content-length", 0)) for each in artifactory.requests[before:])
    assert sent < 0.1 * second.size


def test_the_same_bytes_give_the_version_that_exists(artifactory, hub, folder):
    first = hub.publish(folder, NAME, lineage=LINEAGE)
    assert hub.publish(folder, NAME, lineage={"other": 1}) == first
    assert hub.lineage(first) == LINEAGE


def test_publishing_again_repairs_what_is_gone(artifactory, hub, folder):
    first = hub.publish(folder, NAME, lineage=LINEAGE)
    del artifactory.artifacts.items["published"][f"{NAME}/v1/config.json"]
    assert any("config.json" in problem.message for problem in hub.verify(first))
    hub.publish(folder, NAME, lineage=LINEAGE)
    assert stored(artifactory, f"{NAME}/v1/config.json") == FILES["config.json"]


def test_a_version_never_changes(hub, folder, make_folder):
    hub.publish(folder, NAME, lineage={}, version="2025-06")
    with pytest.raises(InputError, match="never changes"):
        hub.publish(make_folder({**FILES, "config.json": b"{}"}), NAME, lineage={}, version="2025-06")
    with pytest.raises(InputError, match="cannot name a version"):
        hub.publish(folder, NAME, lineage={}, version="aliases")


def test_a_broken_publication_is_no_version_and_is_continued_as_the_same_one(artifactory, hub, folder):
    artifactory.hostile(hostile.status(403, "no"), path=r"config\.json", methods=("PUT",))
    with pytest.raises(UnavailableError, match="403 Forbidden"):
        hub.publish(folder, NAME, lineage=LINEAGE)
    assert hub.models() == []
    artifactory.friendly()
    before = len(artifactory.requests)
    assert hub.publish(folder, NAME, lineage=LINEAGE).version == "v1"
    again = [each.path for each in artifactory.requests[before:] if each.method == "PUT"]
    assert not any("model-1.safetensors" in path for path in again)


def test_an_upload_that_is_reset_is_sent_again(artifactory, hub, folder):
    artifactory.hostile(hostile.upload_reset(100_000), path=r"model-1\.safetensors", methods=("PUT",), skip=1, times=2)
    version = hub.publish(folder, NAME, lineage=LINEAGE)
    assert all(problem.is_warning for problem in hub.verify(version))


def test_a_full_repository_is_told_clearly(artifactory, hub, folder):
    artifactory.artifacts.quota = 1000
    with pytest.raises(UnavailableError, match=r"413 .*Datastore disk usage is too high"):
        hub.publish(folder, NAME, lineage=LINEAGE)
    assert hub.models() == []


def test_two_publishers_at_once_get_versions_of_their_own(artifactory, open_artifactory, make_folder):
    folders = [make_folder({**FILES, "config.json": b"%d" % number}) for number in range(4)]
    hubs = [open_artifactory(artifactory) for _ in folders]
    found = []

    def publish(hub, folder):
        found.append(hub.publish(folder, NAME, lineage={}))

    threads = [threading.Thread(target=publish, args=pair) for pair in zip(hubs, folders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version.version for version in found}) == 4
    for version in found:
        assert resolved(hubs[0], version.reference).digest == version.digest


def test_an_alias_moves_and_leaves_a_record_of_who_moved_it(artifactory, open_artifactory, folder, make_folder):
    hub = open_artifactory(artifactory, artifactory.token("read annotate deploy delete", user="ci"))
    first = hub.publish(folder, NAME, lineage={})
    second = hub.publish(make_folder({"config.json": b"{}"}), NAME, lineage={})
    hub.promote(first, "production")
    assert hub.promote(second, "production").aliases == ("production",)
    hub.promote(second, "production")
    assert resolved(hub, f"{NAME}@production").version == "v2"
    entries = [
        json.loads(content)
        for path, content in sorted(artifactory.files("published").items())
        if "/promotions/" in path
    ]
    assert [(entry["by"], entry["alias"], entry["from"], entry["to"]) for entry in entries] == [
        ("ci", "production", None, "v1"),
        ("ci", "production", "v1", "v2"),
    ]
    hub.publish(folder, NAME, lineage={}, version="spring")
    with pytest.raises(InputError, match="is a version"):
        hub.promote(first, "spring")


def test_an_unknown_version_is_told_with_what_there_is(hub, folder):
    hub.publish(folder, NAME, lineage={}, aliases=["candidate"])
    with pytest.raises(InputError, match=r"use one of v1, candidate") as caught:
        resolved(hub, f"{NAME}@candidat")
    assert caught.value.problems[0].suggestion == "candidate"


def test_a_token_that_may_only_read_base_models_still_gets_them(artifactory, open_artifactory):
    commit = artifactory.put_model("huggingface", "acme/base", FILES)
    hub = open_artifactory(artifactory, artifactory.token("read", repositories=["huggingface"]))
    assert resolved(hub, "acme/base").revision == commit
    with pytest.raises(UnavailableError, match="403 Forbidden"):
        resolved(hub, NAME)


@pytest.mark.parametrize("path", ["lineage.json", "provenance.json", "provenance.sigstore.json"])
def test_a_file_under_a_documents_name_is_refused(hub, make_folder, path):
    with pytest.raises(InputError, match="under its name"):
        hub.publish(make_folder({**FILES, path: b"{}"}), NAME, lineage={})


@pytest.mark.parametrize("path", ["config.json", "lineage.json", "README.md", "provenance.json"])
def test_verify_finds_every_changed_file(artifactory, hub, folder, path):
    version = hub.publish(folder, NAME, lineage=LINEAGE)
    content = stored(artifactory, f"{NAME}/v1/{path}")
    artifactory.put_file("published", f"{NAME}/v1/{path}", content.replace(b"e", b"3", 1) if b"e" in content else b"x")
    (problem,) = [problem for problem in hub.verify(version) if not problem.is_warning]
    assert path in problem.message


@pytest.mark.parametrize("content", [b"", b"{}", b'{"files": []}'])
def test_a_record_that_is_damaged_is_told_and_not_passed_over(artifactory, hub, folder, content):
    version = hub.publish(folder, NAME, lineage=LINEAGE)
    artifactory.put_file("published", f"{NAME}/v1/tunery-manifest.json", content)
    with pytest.raises(TuneryError, match="damaged"):
        hub.verify(version)
    with pytest.raises(TuneryError, match="damaged"):
        hub.models()


def test_publishing_needs_no_permission_to_delete(artifactory, open_artifactory, folder, make_folder):
    hub = open_artifactory(artifactory, artifactory.token("read annotate deploy"))
    assert hub.publish(folder, NAME, lineage=LINEAGE, aliases=["candidate"]).version == "v1"
    second = make_folder({**FILES, "config.json": b"{}"})
    assert hub.publish(second, NAME, lineage=LINEAGE).version == "v2"
    assert hub.publish(second, NAME, lineage=LINEAGE).version == "v2"
    with pytest.raises(UnavailableError, match="403 Forbidden"):
        hub.promote(resolved(hub, f"{NAME}@v2"), "candidate")
    assert resolved(hub, f"{NAME}@candidate").version == "v1"
