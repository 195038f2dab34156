"""The fake refuses what Artifactory refuses; the tests name the pages of jfrog.com/help that say so."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator

import httpx
import pytest
from artifactory import FakeArtifactory, hostile

Client = Callable[..., httpx.Client]
FILE = bytes(range(256)) * 8
SHA256 = hashlib.sha256(FILE).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def artifactory() -> Iterator[FakeArtifactory]:
    with FakeArtifactory(generic=("published", "other")) as server:
        yield server


@pytest.fixture
def client(artifactory: FakeArtifactory) -> Iterator[Client]:
    """Clients of Artifactory's address, each with a token of its own."""
    opened: list[httpx.Client] = []

    def make(permissions: str = "read deploy delete annotate", **options: object) -> httpx.Client:
        token = artifactory.token(permissions, **options)  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token}"}
        opened.append(httpx.Client(base_url=artifactory.url, headers=headers, trust_env=False))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def message(response: httpx.Response) -> str:
    """The message of an error in the documented form (JFrog REST APIs: Error Responses)."""
    [error] = response.json()["errors"]
    assert error["status"] == response.status_code
    return str(error["message"])


def deploy(client: httpx.Client, path: str, content: bytes = FILE, **headers: str) -> httpx.Response:
    return client.put(f"/{path}", content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})


class TestTokens:
    """Understanding Reference Tokens; Understanding Identity Tokens; Access Tokens."""

    def test_no_token_and_a_foreign_one_are_refused(self, artifactory, client):
        assert httpx.get(f"{artifactory.url}/published/a").status_code == 401
        foreign = httpx.get(f"{artifactory.url}/published/a", headers={"Authorization": "Bearer nonsense"})
        assert (foreign.status_code, message(foreign)) == (401, "Token failed verification: parse")

    def test_an_expired_token_says_so_and_shows_it(self, client):
        expired = client(expires_in=-1)
        assert message(expired.get("/published/a")) == "Token failed verification: expired"
        payload = expired.headers["authorization"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["exp"] - claims["iat"] == -1

    def test_a_reference_token_has_64_characters_and_its_end_is_asked_for(self, artifactory, client):
        by_reference = client("read", reference=True, expires_in=60)
        token = by_reference.headers["authorization"].removeprefix("Bearer ")
        assert (len(token), token[:5]) == (64, "cmVmd")
        described = by_reference.get(f"{artifactory.host_url}/access/api/v1/tokens/me").json()
        assert described["expiry"] - described["issued_at"] == 60
        artifactory.tokens.revoke(token)
        assert by_reference.get("/api/system/version").status_code == 401

    def test_a_token_is_also_a_password_and_a_key(self, artifactory):
        token = artifactory.token()
        assert httpx.get(f"{artifactory.url}/api/system/version", auth=("trainer", token)).status_code == 200
        header = {"X-JFrog-Art-Api": token}
        assert httpx.get(f"{artifactory.url}/api/system/version", headers=header).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path", "permission"),
        [
            ("GET", "/published/a", "read"),
            ("GET", "/api/storage/published/a", "read"),
            ("PUT", "/published/new", "deploy"),
            ("PUT", "/api/storage/published/a?properties=k=v", "annotate"),
            ("DELETE", "/published/a", "delete"),
        ],
    )
    def test_each_operation_needs_its_permission(self, artifactory, client, method, path, permission):
        artifactory.put_file("published", "a", FILE)
        others = " ".join({"read", "deploy", "annotate", "delete"} - {permission})
        refused = client(others).request(method, path)
        assert refused.status_code == 403
        assert f"needs {permission.upper()} permission" in message(refused)
        assert client(permission, repositories=["other"]).request(method, path).status_code == 403
        assert client(permission).request(method, path).is_success

    def test_what_may_not_be_read_can_be_hidden(self):
        """Hide Existence of Unauthorized Resources: 404 in place of 403."""
        with FakeArtifactory(hidden=True) as server:
            server.put_file("published", "a", FILE)
            headers = {"Authorization": f"Bearer {server.token('deploy')}"}
            assert httpx.get(f"{server.url}/published/a", headers=headers).status_code == 404


class TestDeploy:
    """Deploy Artifact; Deploy Artifact by Checksum."""

    def test_a_file_comes_back_with_its_checksums(self, client):
        created = deploy(client(), "published/a/b.bin", X_Checksum_Sha256=SHA256)
        assert (created.status_code, created.json()["size"]) == (201, str(len(FILE)))
        assert created.json()["checksums"]["sha256"] == SHA256
        head = client().head("/published/a/b.bin")
        assert (head.headers["x-checksum-sha256"], head.headers["content-length"]) == (SHA256, str(len(FILE)))
        assert head.headers["etag"] == hashlib.sha1(FILE, usedforsecurity=False).hexdigest()
        assert client().get("/published/a/b.bin").content == FILE

    def test_an_upload_in_chunks_is_taken(self, artifactory, client):
        client().put("/published/a", content=iter([b"one", b"two"]))
        assert artifactory.files("published") == {"a": b"onetwo"}
        assert artifactory.bytes_received == 6

    def test_a_wrong_checksum_is_a_conflict_and_leaves_nothing(self, artifactory, client):
        """What are Client Checksum, Server Checksum, and Checksum Policy in local repositories?"""
        refused = deploy(client(), "published/a", X_Checksum_Sha256=OTHER)
        assert (refused.status_code, artifactory.files("published")) == (409, {})
        assert f"received '{OTHER}' but actual is '{SHA256}'" in message(refused)

    def test_a_checksum_deploy_moves_no_bytes_when_the_server_has_them(self, artifactory, client):
        wanted = {"X_Checksum_Deploy": "true", "X_Checksum_Sha256": SHA256}
        missing = deploy(client(), "published/b", b"", **wanted)
        assert (missing.status_code, artifactory.files("published")) == (404, {})
        artifactory.put_file("other", "a", FILE)
        assert deploy(client(), "published/b", b"", **wanted).status_code == 201
        assert artifactory.files("published") == {"b": FILE}
        assert artifactory.bytes_received == 0

    def test_a_checksum_deploy_finds_only_what_the_user_may_read(self, artifactory, client):
        artifactory.put_file("other", "a", FILE)
        narrow = client("read deploy", repositories=["published"])
        found = deploy(narrow, "published/b", b"", X_Checksum_Deploy="true", X_Checksum_Sha256=SHA256)
        assert found.status_code == 404

    def test_overwriting_needs_the_permission_to_delete(self, artifactory, client):
        """How to Prevent "Overwrite" When Using Deploy Artifact by Checksum: the same bytes again are let through."""
        artifactory.put_file("published", "a", FILE)
        artifactory.put_file("published", "b", b"other")
        careful = client("read deploy")
        refused = deploy(careful, "published/a", b"new")
        assert (refused.status_code, "needs DELETE permission" in message(refused)) == (403, True)
        again = {"X_Checksum_Deploy": "true", "X_Checksum_Sha256": SHA256}
        assert deploy(careful, "published/a", b"", **again).status_code == 201
        assert deploy(careful, "published/a", b"", **again | {"X_Checksum_Sha256": OTHER}).status_code == 403
        assert artifactory.files("published")["a"] == FILE
        assert deploy(client(), "published/a", b"new").status_code == 201

    def test_a_full_store_takes_nothing_more(self, artifactory, client):
        """Managing Disk Space Usage: storing above the quota fails."""
        artifactory.put_file("published", "a", FILE)
        artifactory.artifacts.quota = len(FILE) + 1
        assert deploy(client(), "published/b", b"xy").status_code == 413
        assert client().put("/published/c", content=iter([b"x", b"y"])).status_code == 413
        assert deploy(client(), "published/b", b"x").status_code == 201
        assert sorted(artifactory.files("published")) == ["a", "b"]

    @pytest.mark.parametrize("path", ["%2e%2e/other/a", "a%2F..%2Fb", "a//b", "a:b", "a%5Cb", "a%00", "folder/"])
    def test_impossible_paths_are_refused(self, artifactory, client, path):
        assert deploy(client(), f"published/{path}").status_code == 400
        assert artifactory.files("published") == artifactory.files("other") == {}

    def test_a_file_is_no_folder(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        artifactory.put_file("published", "b/c", FILE)
        assert deploy(client(), "published/a/below").status_code == 409
        assert deploy(client(), "published/b").status_code == 409

    @pytest.mark.parametrize("path", ["nowhere/a", "huggingface/a"])
    def test_a_repository_must_be_there_and_of_the_right_kind(self, client, path):
        assert deploy(client(), path).status_code == 404


class TestDownload:
    """Retrieve Artifact; RFC 9110 on ranges."""

    @pytest.mark.parametrize(
        ("asked", "status", "part", "said"),
        [
            ("bytes=0-9", 206, FILE[:10], "bytes 0-9/2048"),
            ("bytes=2040-", 206, FILE[2040:], "bytes 2040-2047/2048"),
            ("bytes=-8", 206, FILE[-8:], "bytes 2040-2047/2048"),
            ("bytes=2000-9999", 206, FILE[2000:], "bytes 2000-2047/2048"),
            ("bytes=2048-", 416, None, "bytes */2048"),
            ("bytes=0-1,5-6", 200, FILE, None),
            ("lines=1-2", 200, FILE, None),
        ],
    )
    def test_ranges(self, artifactory, client, asked, status, part, said):
        artifactory.put_file("published", "a", FILE)
        got = client().get("/published/a", headers={"Range": asked})
        assert (got.status_code, got.headers.get("content-range")) == (status, said)
        assert part is None or got.content == part

    def test_if_range_gives_the_whole_of_what_changed(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        etag = client().head("/published/a").headers["etag"]
        ranged = {"Range": "bytes=5-", "If-Range": etag}
        assert client().get("/published/a", headers=ranged).status_code == 206
        artifactory.put_file("published", "a", b"changed")
        whole = client().get("/published/a", headers=ranged)
        assert (whole.status_code, whole.content) == (200, b"changed")

    def test_unchanged_since(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        etag = client().head("/published/a").headers["etag"]
        assert client().get("/published/a", headers={"If-None-Match": etag}).status_code == 304

    def test_a_folder_is_a_page_and_no_file(self, artifactory, client):
        artifactory.put_file("published", "m/v1/config.json", FILE)
        page = client().get("/published/m")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html;charset=utf-8")
        assert "x-checksum-sha256" not in page.headers
        assert client().get("/published/none").status_code == 404

    def test_a_redirect_is_signed_and_takes_no_other_credentials(self):
        """Cloud Storage: Artifactory redirects downloads to a signed address."""
        with FakeArtifactory(redirects=True) as server:
            server.put_file("published", "a", FILE)
            headers = {"Authorization": f"Bearer {server.token()}"}
            sent = httpx.get(f"{server.url}/published/a", headers=headers)
            location = sent.headers["location"]
            assert (sent.status_code, sent.headers["x-checksum-sha256"]) == (302, SHA256)
            assert httpx.get(location).content == FILE
            assert httpx.get(location, headers=headers).status_code == 400
            assert httpx.get(location.replace("Expires=", "Expires=9")).status_code == 403


class TestStorage:
    """File Info; Folder Info; File List; Item Properties; Set Item Properties; Move Item; Delete Item."""

    def test_what_is_known_of_files_and_folders(self, artifactory, client):
        artifactory.put_file("published", "m/v1/config.json", FILE)
        artifactory.put_file("published", "m/card.md", FILE)
        info = client().get("/api/storage/published/m/v1/config.json").json()
        assert (info["size"], info["checksums"]["sha256"]) == ("2048", SHA256)
        folder = client().get("/api/storage/published/m").json()
        assert {child["uri"]: child["folder"] for child in folder["children"]} == {"/v1": True, "/card.md": False}
        assert client().get("/api/storage/published/none").status_code == 404

    def test_lists_are_flat_unless_deep(self, artifactory, client):
        artifactory.put_file("published", "m/v1/config.json", FILE)
        artifactory.put_file("published", "m/card.md", FILE)

        def listed(query: str) -> list[str]:
            return [file["uri"] for file in client().get(f"/api/storage/published/m?list{query}").json()["files"]]

        assert listed("") == ["/card.md"]
        assert listed("&listFolders=1") == ["/card.md", "/v1"]
        assert listed("&deep=1") == ["/card.md", "/v1/config.json"]
        assert client().get("/api/storage/published/m/card.md?list").status_code == 400

    def test_properties_come_with_a_deploy_or_later(self, artifactory, client):
        client().put("/published/m/a;run=r-1;stage=sft,dpo", content=FILE)
        assert artifactory.properties("published", "m/a") == {"run": ["r-1"], "stage": ["sft", "dpo"]}
        set_ = client().put(r"/api/storage/published/m", params={"properties": r"note=a\=b\,c;team=x"})
        assert set_.status_code == 204
        got = client().get("/api/storage/published/m/a?properties").json()["properties"]
        assert got == {"run": ["r-1"], "stage": ["sft", "dpo"], "note": ["a=b,c"], "team": ["x"]}
        assert client().delete("/api/storage/published/m/a?properties=run,stage,note,team").status_code == 204
        assert client().get("/api/storage/published/m/a?properties").status_code == 404

    def test_keys_of_properties_have_no_special_characters(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        refused = client().put("/api/storage/published/a", params={"properties": "a/b=c"})
        assert refused.status_code == 400

    def test_a_folder_moves_as_a_whole(self, artifactory, client):
        artifactory.put_file("published", "staging/x/config.json", FILE)
        move = "/api/move/published/staging/x?to=/published/m/v1"
        assert client().post(f"{move}&dry=1").status_code == 200
        assert list(artifactory.files("published")) == ["staging/x/config.json"]
        assert client().post(move).status_code == 200
        assert list(artifactory.files("published")) == ["m/v1/config.json"]

    def test_a_move_into_a_folder_that_is_there_goes_below_it(self, artifactory, client):
        artifactory.put_file("published", "staging/x/config.json", FILE)
        artifactory.put_file("published", "m/v1/other", FILE)
        client().post("/api/move/published/staging/x?to=/published/m/v1")
        assert list(artifactory.files("published")) == ["m/v1/other", "m/v1/x/config.json"]

    @pytest.mark.parametrize(
        ("permissions", "target", "status"),
        [
            ("read deploy", "/published/m/v1", 403),
            ("read delete", "/published/m/v1", 403),
            ("read deploy delete", "/nowhere/m/v1", 404),
            ("read deploy delete", "m/v1", 400),
            ("read deploy delete", "/published/staging/x/y", 409),
        ],
    )
    def test_moves_that_are_refused(self, artifactory, client, permissions, target, status):
        artifactory.put_file("published", "staging/x/config.json", FILE)
        refused = client(permissions).post("/api/move/published/staging/x", params={"to": target})
        assert refused.status_code == status
        assert list(artifactory.files("published")) == ["staging/x/config.json"]

    def test_a_folder_is_deleted_with_all_in_it(self, artifactory, client):
        artifactory.put_file("published", "m/v1/config.json", FILE)
        artifactory.put_file("published", "m/v10/config.json", FILE)
        assert client().delete("/published/m/v1").status_code == 204
        assert list(artifactory.files("published")) == ["m/v10/config.json"]
        assert client().delete("/published/m/v1").status_code == 404


class TestHuggingFace:
    """Hugging Face Repositories (docs.jfrog.com); the answers are those of the Hugging Face Hub."""

    def test_a_branch_moves_and_a_commit_stays(self, artifactory, client):
        old = artifactory.put_model("huggingface", "org/m", {"config.json": b"old"})
        artifactory.put_model("huggingface", "org/m", {"config.json": b"tag"}, "v1.0")
        new = artifactory.put_model("huggingface", "org/m", {"config.json": b"new"})
        user, base = client(), f"{artifactory.endpoint()}/org/m/resolve"
        got = {name: user.get(f"{base}/{name}/config.json") for name in ("main", "v1.0", old, new)}
        assert [each.text for each in got.values()] == ["new", "tag", "old", "new"]
        assert got["main"].headers["x-repo-commit"] == new
        assert user.get(f"{artifactory.endpoint()}/api/models/org/m/revision/v1.0").json()["sha"] not in (old, new)

    def test_large_files_are_named_by_sha256_and_small_ones_by_git(self, artifactory, client):
        artifactory.put_model(
            "huggingface", "m", {"model.safetensors": FILE, "a/config.json": b"hello\n"}, kind="datasets"
        )
        user = client()
        base = f"{artifactory.endpoint()}/datasets/m/resolve/main"
        large, small = user.head(f"{base}/model.safetensors").headers, user.head(f"{base}/a/config.json").headers
        assert (large["x-linked-etag"], large["x-linked-size"]) == (f'"{SHA256}"', str(len(FILE)))
        assert (small["etag"], "x-linked-etag" in small) == ('"ce013625030ba8dba906f756967f9e9ca394464a"', False)
        tree = f"{artifactory.endpoint()}/api/datasets/m/tree/main"
        assert [(entry["type"], entry["path"]) for entry in user.get(tree).json()] == [
            ("directory", "a"),
            ("file", "model.safetensors"),
        ]
        assert user.get(f"{tree}/a").json()[0]["oid"] == small["etag"].strip('"')
        assert user.get(f"{tree}?recursive=true").json()[-1]["lfs"]["oid"] == SHA256

    def test_a_long_tree_comes_in_pages(self, artifactory, client):
        artifactory.put_model("huggingface", "org/m", {f"{n}.json": b"{}" for n in range(5)})
        artifactory.page_size(2)
        user, url, found = client(), f"{artifactory.endpoint()}/api/models/org/m/tree/main?recursive=true", []
        while url:
            page = user.get(url)
            found.append([entry["path"] for entry in page.json()])
            url = page.links.get("next", {}).get("url")
        assert found == [["0.json", "1.json"], ["2.json", "3.json"], ["4.json"]]

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("org/none/resolve/main/config.json", "RepoNotFound"),
            ("org/m/resolve/none/config.json", "RevisionNotFound"),
            ("org/m/resolve/main/none.json", "EntryNotFound"),
            ("api/models/org/m/tree/main/none", "EntryNotFound"),
            ("api/models/org/m/revision/none", "RevisionNotFound"),
        ],
    )
    def test_what_is_missing_is_named(self, artifactory, client, path, code):
        artifactory.put_model("huggingface", "org/m", {"config.json": b"{}"})
        missing = client().get(f"{artifactory.endpoint()}/{path}")
        assert (missing.status_code, missing.headers["x-error-code"]) == (404, code)

    def test_a_model_needs_the_permission_to_read_its_repository(self, artifactory, client):
        artifactory.put_model("huggingface", "org/m", {"config.json": b"{}"})
        file = f"{artifactory.endpoint()}/org/m/resolve/main/config.json"
        assert httpx.get(file).status_code == 401
        assert client("deploy").get(file).status_code == 403
        assert client("read", repositories=["published"]).get(file).status_code == 403
        assert client().put(file, content=b"x").status_code == 405


def test_a_private_authority_is_not_trusted_by_itself():
    with FakeArtifactory(tls=True) as server:
        ping = f"{server.url}/api/system/ping"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(ping)
        trusting = ssl.create_default_context(cafile=server.ca_file)
        assert httpx.get(ping, verify=trusting).text == "OK"


class TestHostile:
    """What the faults do is what their names say: a fault that does nothing would prove nothing."""

    def test_a_rule_says_which_requests_and_how_often(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        rule = artifactory.hostile(hostile.too_many("7"), path="/published/a", methods=["GET"], skip=1, times=2)
        user = client()
        statuses = [user.get("/published/a").status_code for _ in range(4)]
        assert (statuses, rule.hits, user.head("/published/a").status_code) == ([200, 429, 429, 200], 2, 200)
        artifactory.hostile(hostile.status(503), times=1)
        artifactory.friendly()
        assert user.get("/published/a").status_code == 200

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (hostile.reset(), httpx.ReadError),
            (hostile.reset(100), httpx.ReadError),
            (hostile.cut(100), httpx.RemoteProtocolError),
            (hostile.wrong_length(5), httpx.RemoteProtocolError),
            (hostile.stall(), httpx.ReadTimeout),
            (hostile.stall(100), httpx.ReadTimeout),
            (hostile.huge_headers(1 << 20), httpx.RemoteProtocolError),
        ],
    )
    def test_connections_that_break(self, artifactory, client, fault, error):
        artifactory.put_file("published", "a", FILE)
        artifactory.hostile(fault)
        with pytest.raises(error):
            client().get("/published/a", timeout=0.2)

    def test_a_slow_loris_is_never_silent(self, artifactory, client):
        artifactory.put_file("published", "a", b"x")
        artifactory.hostile(hostile.slow_loris(0.0005))
        assert client().get("/published/a", timeout=0.2).content == b"x"

    def test_bytes_that_are_wrong(self, artifactory, client):
        artifactory.put_file("published", "a", FILE)
        artifactory.hostile(hostile.corrupt(3), times=1)
        got = client().get("/published/a")
        assert (got.content[:5], got.headers["x-checksum-sha256"]) == (b"\0\1\2\2\4", SHA256)
        artifactory.hostile(hostile.wrong_length(-8), times=1)
        assert client().get("/published/a").content == FILE[:-8]
        artifactory.hostile(hostile.changed(b"another file"), skip=1, times=1)
        user, ranged = client(), {"Range": "bytes=0-3"}
        assert [user.get("/published/a", headers=ranged).content for _ in range(3)] == [FILE[:4], b"anot", FILE[:4]]

    def test_an_upload_that_breaks_leaves_nothing(self, artifactory, client):
        artifactory.hostile(hostile.upload_reset(1 << 16), methods=["PUT"], times=1)
        with pytest.raises(httpx.TransportError):
            deploy(client(), "published/a", bytes(1 << 20))
        assert artifactory.files("published") == {}
        artifactory.hostile(hostile.reset(), methods=["PUT"], times=1)
        with pytest.raises(httpx.TransportError):
            deploy(client(), "published/a")
        assert artifactory.files("published") == {"a": FILE}, "done, but the answer was lost"

    def test_lists_with_names_that_lead_outside(self, artifactory, client):
        artifactory.put_file("published", "m/a", FILE)
        artifactory.put_model("huggingface", "org/m", {"config.json": b"{}"})
        artifactory.hostile(hostile.listed("../../outside"))
        user, api = client(), f"{artifactory.endpoint()}/api/models/org/m"
        assert user.get("/api/storage/published/m?list").json()["files"][-1]["uri"] == "/../../outside"
        assert user.get(api).json()["siblings"][-1] == {"rfilename": "../../outside"}
        assert user.get(f"{api}/tree/main").json()[-1]["path"] == "../../outside"

    def test_headers_taken_away_pages_redirects_and_bombs(self, artifactory, client):
        artifactory.put_model("huggingface", "org/m", {"model.safetensors": FILE})
        user, file = client(), f"{artifactory.endpoint()}/org/m/resolve/main/model.safetensors"
        artifactory.hostile(hostile.without("X-Repo-Commit", "ETag"), times=1)
        assert {"x-repo-commit", "etag"}.isdisjoint(user.head(file).headers)
        artifactory.hostile(hostile.redirect("http://elsewhere.invalid/"), times=1)
        moved = user.get(file)
        assert (moved.headers["location"], len(moved.headers["x-repo-commit"])) == ("http://elsewhere.invalid/", 40)
        artifactory.hostile(hostile.page(200), times=1)
        assert user.get(file).headers["content-type"] == "text/html"
        artifactory.hostile(hostile.served(b"anything"), times=1)
        assert user.get(file).content == b"anything"
        artifactory.hostile(hostile.gzip_bomb(4 << 20), times=1)
        with user.stream("GET", file) as packed:
            assert int(packed.headers["content-length"]) < 10_000
            assert len(packed.read()) == 4 << 20
