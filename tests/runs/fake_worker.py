"""Stands for a worker that needs no torch: claims its run, notes when it ran, says that it is done."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

folder, record = map(Path, sys.argv[1:])
file = folder / "run.json"


@contextmanager
def locked():
    with (folder.parent / ".runs.lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


with locked():
    run = json.loads(file.read_text())
assert run["state"] == "running"
assert run["worker"]["pid"] == os.getpid()
began = time.monotonic()
time.sleep(0.05)
with locked():
    run = {**json.loads(file.read_text()), "state": "done"}
    with record.open("a") as stream:
        stream.write(json.dumps([run["ticket"], began, time.monotonic(), run["id"]]) + "\n")
    new = folder / ".new"
    new.write_text(json.dumps(run))
    new.replace(file)
