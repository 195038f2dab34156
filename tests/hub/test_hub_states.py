"""A hub under any sequence of publications, promotions, damage and repairs, beside a model of what it should be."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workloads.errors import InputError, TuneryError
from workloads.hub.directory import DirectoryHub
from workloads.hub.interface import ModelReference
from workloads.storage import manifest

NAMES = st.sampled_from(["a", "a/b", "b"])
ALIASES = st.sampled_from(["candidate", "production"])
FOLDERS = st.dictionaries(
    st.sampled_from(["config.json", "w/a.safetensors", "w/b.safetensors"]),
    st.sampled_from([b"", b"one", b"two", b"ten"]),
    min_size=1,
)


class HubMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        # The disk's own durability is the subject of other tests; waiting for it here takes most of the time.
        self.no_wait = mock.patch.object(os, "fsync", return_value=None)
        self.no_wait.start()
        self.hub = DirectoryHub(self.scratch / "hub")
        self.versions: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.stored: set[bytes] = set()
        self.damaged: set[bytes] = set()

    def teardown(self) -> None:
        self.no_wait.stop()
        shutil.rmtree(self.scratch)

    def folder(self, files: dict[str, bytes]) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    def draw_version(self, data: st.DataObject) -> tuple[str, str, dict[str, bytes]]:
        name = data.draw(st.sampled_from(sorted(self.versions)))
        return (name, *data.draw(st.sampled_from(self.versions[name])))

    @rule(name=NAMES, files=FOLDERS, aliases=st.lists(ALIASES, unique=True))
    def publish(self, name: str, files: dict[str, bytes], aliases: list[str]) -> None:
        known = self.versions.setdefault(name, [])
        expected = next((version for version, content in known if content == files), None)
        if expected is None:
            numbers = [int(version[1:]) for version, _ in known if version.startswith("v")]
            expected = f"v{max(numbers, default=0) + 1}"
            known.append((expected, files))
        published = self.hub.publish(self.folder(files), name, lineage={}, aliases=aliases)
        assert published.version == expected
        self.aliases |= {(name, alias): expected for alias in aliases}
        self.stored |= set(files.values())
        self.damaged -= set(files.values())

    @rule(name=NAMES, files=FOLDERS, version=st.sampled_from(["v2", "v5", "first"]))
    def publish_as(self, name: str, files: dict[str, bytes], version: str) -> None:
        known = self.versions.get(name, [])
        folder = self.folder(files)
        taken = dict(known).get(version)
        if taken is not None and taken != files:
            try:
                self.hub.publish(folder, name, lineage={}, version=version)
            except InputError:
                return
            raise AssertionError("a version changed")
        assert self.hub.publish(folder, name, lineage={}, version=version).version == version
        if taken is None:
            self.versions.setdefault(name, []).append((version, files))
        self.stored |= set(files.values())
        self.damaged -= set(files.values())

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), alias=ALIASES)
    def promote(self, data: st.DataObject, alias: str) -> None:
        name, version, _ = self.draw_version(data)
        self.hub.promote(self.hub.resolve(ModelReference(name, version)), alias)
        self.aliases[name, alias] = version

    @precondition(lambda self: self.stored - {b""})
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        content = data.draw(st.sampled_from(sorted(self.stored - {b""})))
        digest = hashlib.sha256(content).hexdigest()
        blob = self.hub.root / "blobs" / digest[:2] / digest
        blob.chmod(0o644)
        blob.write_bytes(b"???")
        self.damaged.add(content)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        name, version, files = self.draw_version(data)
        folder = self.folder({})
        found = self.hub.resolve(ModelReference(name, version))
        try:
            self.hub.fetch(found, folder)
        except TuneryError:
            assert self.damaged & set(files.values())
            assert manifest.read(folder) is None
        else:
            assert not self.damaged & set(files.values())
            assert {path: (folder / path).read_bytes() for path in files} == files
        assert len(self.hub.verify(found)) == sum(content in self.damaged for content in files.values())

    @invariant()
    def the_list_is_what_was_published(self) -> None:
        expected = [
            (
                name,
                version,
                tuple(sorted(a for (n, a), target in self.aliases.items() if (n, target) == (name, version))),
            )
            for name in sorted(self.versions)
            for version, _ in self.versions[name]
        ]
        reopened = DirectoryHub(self.hub.root)
        assert [(each.name, each.version, each.aliases) for each in reopened.models()] == expected

    @invariant()
    def each_content_is_kept_once(self) -> None:
        blobs = [path for path in (self.hub.root / "blobs").glob("*/*") if path.is_file()]
        assert {path.name for path in blobs} == {hashlib.sha256(content).hexdigest() for content in self.stored}


HubMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestHubStates = HubMachine.TestCase
