"""A load as the job's process does it, a few files a transaction: `load_child.py DATA`."""

import sys
from pathlib import Path

import msgspec

from headrace.operations import load
from headrace.settings import Layout
from headrace.system import System

if __name__ == "__main__":
    load.FILES = 3
    layout = Layout(Path(sys.argv[1]))
    system = msgspec.json.decode(layout.system.read_bytes(), type=System)
    print(load.load(layout, system, print), flush=True)
