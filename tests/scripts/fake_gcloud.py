# A gcloud that writes down what it is asked (FAKE_GCLOUD, a line of JSON each) and knows what it has made.
# FAKE_GCLOUD_REFUSES: the start of a command that it refuses.
import json
import os
import sys
from pathlib import Path

words = sys.argv[1:]
memory = Path(os.environ["FAKE_GCLOUD"])
made = memory.with_suffix(".made")
with memory.open("a", encoding="utf-8") as lines:
    lines.write(json.dumps(words) + "\n")

refuses = os.environ.get("FAKE_GCLOUD_REFUSES")
if refuses and words[: len(refuses.split())] == refuses.split():
    sys.exit("ERROR: (gcloud) PERMISSION_DENIED: the caller does not have permission")

VERBS = ("create", "create-oidc", "describe")
verb = next((word for word in words if word in VERBS), None)
if verb is not None:
    position = words.index(verb)
    # An account is made by its name and looked for by its address.
    thing = " ".join([*words[:position], words[position + 1].split("@")[0]])
    known = made.read_text(encoding="utf-8").splitlines() if made.exists() else []
    if verb == "describe":
        sys.exit(0 if thing in known else "ERROR: NOT_FOUND")
    if thing in known:
        sys.exit("ERROR: ALREADY_EXISTS")
    with made.open("a", encoding="utf-8") as things:
        things.write(thing + "\n")
