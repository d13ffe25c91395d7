"""What a process forked from the tests' fork server does; see conftest.py."""

from __future__ import annotations

import errno
import os
import sys
import time


def main(given):
    os.setsid()
    os.environ.update(given["env"])
    log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return {"worker": work, "pump": pump}[given["task"]](given)


def work(given):
    """A worker as it is, but for what the test breaks."""
    import torch

    from anticollapse.runs import worker
    from anticollapse.training import checkpoint

    torch.set_num_threads(1)
    worker.pump_locked = lambda *_: []  # the test itself moves the queue on
    if given["breaks"] == "disk":
        whole, calls = checkpoint.safetensors.torch.save_file, []

        def full(*arguments):
            calls.append(1)
            if len(calls) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole(*arguments)

        checkpoint.safetensors.torch.save_file = full
    if given["breaks"] == "deaf":
        import anticollapse.training as training

        def deaf(*_, **__):
            while True:
                time.sleep(0.1)

        training.train = deaf
    if given["breaks"] == "held":
        whole_hear = worker.Reporter.hear

        def hear(self, event):
            """Goes no further than the first step until somebody asks it to stop."""
            whole_hear(self, event)
            until = time.monotonic() + 60
            while event.kind == "progress" and not self.stop_wanted() and time.monotonic() < until:
                time.sleep(0.01)

        worker.Reporter.hear = hear
    return worker.main([given["folder"]])


def pump(given):
    """A server that moves the queue on all the time."""
    import subprocess
    from pathlib import Path

    from anticollapse.runs import queue

    queue._spawn = lambda run, environment: subprocess.Popen(
        [sys.executable, "-I", given["fake"], str(run.folder), given["record"]], start_new_session=True
    )
    deadline = time.monotonic() + given["seconds"]
    while time.monotonic() < deadline:
        queue.pump(Path(given["root"]))
        time.sleep(0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main(GIVEN))  # noqa: F821  runpy puts it there
