"""The bindings take blocks as dicts wherever they are, check them, and load only what is named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import bindings
from infra.bindings import cdktf, google
from infra.scope import Scope
from infra.settings import Environment

Synthesize = Callable[..., dict[str, Any]]
RANGES = [{"range_name": "pods", "ip_cidr_range": "10.1.0.0/16"}]


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def subnetwork(environment: Callable[..., Environment], synthesize: Synthesize) -> Callable[..., dict[str, Any]]:
    """The Terraform block of a subnetwork with these arguments."""

    def make(**arguments: Any) -> dict[str, Any]:
        def part(scope: Scope) -> None:
            google.compute_subnetwork.ComputeSubnetwork(scope.stack, "subnet", name="n", network="n", **arguments)

        found: dict[str, Any] = synthesize(part, environment("dev"))["resource"]["google_compute_subnetwork"]["subnet"]
        return found

    return make


def test_blocks_inside_lists_are_dicts_too(subnetwork: Callable[..., dict[str, Any]]) -> None:
    assert subnetwork(secondary_ip_range=RANGES)["secondary_ip_range"] == RANGES


def test_blocks_inside_blocks_inside_lists(environment: Callable[..., Environment], synthesize: Synthesize) -> None:
    driver = {"gpu_driver_version": "LATEST"}

    def part(scope: Scope) -> None:
        google.container_node_pool.ContainerNodePool(
            scope.stack,
            "pool",
            cluster="c",
            node_config={
                "labels": {"not_a_block": "stays"},
                "guest_accelerator": [{"type": "nvidia-l4", "count": 1, "gpu_driver_installation_config": driver}],
            },
        )

    pool = synthesize(part, environment("dev"))["resource"]["google_container_node_pool"]["pool"]
    assert pool["node_config"]["labels"] == {"not_a_block": "stays"}
    assert pool["node_config"]["guest_accelerator"][0]["gpu_driver_installation_config"] == driver


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"log_confg": {}}, "log_confg"),
        ({"secondary_ip_range": [{"rangeName": "pods", "ip_cidr_range": "10.1.0.0/16"}]}, "rangeName"),
        ({"secondary_ip_range": [{"range_name": 3, "ip_cidr_range": "10.1.0.0/16"}]}, "range_name"),
        ({"ip_cidr_range": 10}, "ip_cidr_range"),
    ],
)
def test_a_wrong_key_or_type_is_refused_by_name(
    subnetwork: Callable[..., dict[str, Any]], arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(TypeError, match=named):
        subnetwork(**arguments)


def test_only_what_is_named_is_imported() -> None:
    program = (
        "import sys; from infra.bindings import GOOGLE, google; google.project_service.ProjectService; "
        "print(sorted(name for name in sys.modules if name.startswith(GOOGLE) and name.count('.') == 1))"
    )
    done = run(program)
    assert done.stdout.strip() == f"['{bindings.GOOGLE}._jsii', '{bindings.GOOGLE}.project_service']", done.stderr


def test_what_javascript_throws_arrives() -> None:
    done = run(
        "from infra.bindings import cdktf\napp = cdktf.Testing.app()\nfor _ in 'ab': cdktf.TerraformStack(app, 'twice')"
    )
    assert done.returncode == 1
    assert "There is already a Construct with name 'twice'" in done.stderr


def test_what_javascript_prints_arrives(tmp_path: Path) -> None:
    script = tmp_path / "print.js"
    script.write_text("process.on('exit', () => { console.log('said'); console.error('warned') })\n")
    done = run("from infra.bindings import cdktf; cdktf.Testing.app()", NODE_OPTIONS=f'--require "{script}"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "said\n", "warned\n")


def test_without_the_hook_it_only_takes_longer() -> None:
    program = "from infra.bindings import cdktf; print(cdktf.Fn.join('-', ['a', 'b']))"
    plain = run(program, JSII_NODE=os.environ[bindings.NODE])
    assert plain.stdout == run(program).stdout != ""


def test_missing_bindings_say_how_to_get_them() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_bindings is not installed; fix: make setup"):
        _ = bindings.Package("no_such_bindings").anything


def test_the_hook_takes_the_lazy_index_and_drops_inline_source_maps(tmp_path: Path) -> None:
    lib = tmp_path / "a folder with spaces" / "lib"
    lib.mkdir(parents=True)
    (lib / "index.js").write_text("throw new Error('all modules at once')\n")
    (lib / "lazy-index.js").write_text(
        "exports.name = 'lazy'\n//# sourceMappingURL=data:application/json;base64,AAAA\n"
    )
    spy = tmp_path / "spy.js"
    spy.write_text(
        "const M = require('node:module'), compile = M.prototype._compile\n"
        "M.prototype._compile = function (text, ...rest) {\n"
        "  globalThis.compiled = text; return compile.call(this, text, ...rest) }\n"
    )
    program = "const found = require(process.argv[1]); console.log(found.name, compiled.includes('sourceMapping'))"
    hook = Path(bindings.__file__).parent / "jsii_hook.js"
    done = subprocess.run(
        [os.environ[bindings.NODE], "--require", spy, "--require", hook, "-e", program, lib / "index.js"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The hook hands printed text over as JSON on standard error: "lazy false" in base64.
    assert "bGF6eSBmYWxzZQo=" in done.stderr, done.stderr


def test_cdktf_attributes_are_those_of_the_package() -> None:
    assert cdktf.TerraformStack.__module__ == bindings.CDKTF
