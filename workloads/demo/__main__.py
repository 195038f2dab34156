"""Builds the tiny base model: python -m workloads.demo FOLDER [--seed 7]"""

import argparse
import sys
from pathlib import Path

from workloads.demo.tiny_model import build_tiny_model
from workloads.errors import TuneryError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the tiny base model of the demo.")
    parser.add_argument("folder", type=Path, help="where to write it; must not exist or be empty")
    parser.add_argument("--seed", type=int, default=7, help="another seed gives another model (default: 7)")
    arguments = parser.parse_args()
    try:
        build_tiny_model(arguments.folder, arguments.seed)
    except TuneryError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(int(error.exit_code))
