"""A strict Artifactory that runs inside the tests: real sockets, documented behaviour, faults on request.

``with FakeArtifactory() as artifactory`` gives a server on loopback. It speaks Artifactory's generic protocol and the
Hugging Face protocol, refuses what the real one refuses, records every request, and by ``artifactory.hostile(...)``
becomes as bad as a network and its machines can be (:mod:`artifactory.hostile`). A second host plays the object
storage that the real one redirects to.
"""

from artifactory.server import FakeArtifactory
from artifactory.wire import Recorded

__all__ = ["FakeArtifactory", "Recorded"]
