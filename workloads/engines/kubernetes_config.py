"""The official client's kubeconfig and login, without the thousand modules of typed objects that come with them.

``import kubernetes`` takes 0.5 to 1.5 seconds for models of which tunery uses none. Its packages' ``__init__`` do
that, so three empty packages stand in for them while what is needed is imported, and then make way again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_ROOT = "kubernetes"
_STAND_INS = (_ROOT, f"{_ROOT}.client", f"{_ROOT}.client.models")


def load() -> Any:
    """The module ``kubernetes.config``.

    Raises:
        ImportError: the client is not installed.
    """
    if _ROOT in sys.modules:
        return importlib.import_module(f"{_ROOT}.config")
    spec = importlib.util.find_spec(_ROOT)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(_ROOT)
    folders = list(spec.submodule_search_locations)
    root, client, models = (ModuleType(name) for name in _STAND_INS)
    root.__path__ = folders
    client.__path__ = [f"{folder}/client" for folder in folders]
    vars(root)["client"] = client
    vars(client)["models"] = models
    try:
        sys.modules.update(zip(_STAND_INS, (root, client, models), strict=True))
        for module, name in (("configuration", "Configuration"), ("api_client", "ApiClient")):
            found = importlib.import_module(f"{_ROOT}.client.{module}")
            vars(client)[name] = getattr(found, name)
        return importlib.import_module(f"{_ROOT}.config")
    finally:
        for name in _STAND_INS:
            sys.modules.pop(name, None)
