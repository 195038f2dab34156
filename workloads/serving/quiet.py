"""Keeps the training stack's own messages away from a person who talks to a model."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Lets only errors of transformers and LLaMA-Factory through, and keeps both off the network.

    Call it before either is imported: they read these variables once.
    """
    os.environ["LLAMAFACTORY_VERBOSITY"] = "ERROR"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    logging.getLogger("torchao").setLevel(logging.ERROR)

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
