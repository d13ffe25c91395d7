"""What a process forked from the tests' fork server does: work on a study, slowly where the test says so."""

from __future__ import annotations

import os
import time
from pathlib import Path


def main(given):
    os.environ.update(given["env"])
    import torch

    from anticollapse import studies
    from anticollapse.encoding import load_encoder
    from anticollapse.studies import execution as module
    from anticollapse.studies.plan import select

    torch.set_num_threads(1)
    folder = Path(given["folder"])
    plan = studies.read_plan(folder)
    splits = studies.load_splits(given["file"])
    bench = studies.Bench(
        plan=plan, splits=splits, backbone=load_encoder("tiny", device="cpu"), folder=folder, device="cpu", threads=1,
        commit="c0ffee", command="the command",
    )  # fmt: skip
    original = module.run_cell

    def run_cell(bench, cell, **options):
        with Path(given["log"]).open("a", encoding="utf-8") as stream:
            stream.write(f"{cell.slug}\n")
        if given.get("together"):
            # Nobody goes on before two have begun, so that both have a share.
            meet(folder, given["together"])
        if cell.slug == given.get("hang"):
            return original(bench, cell, **{**options, "stop": hang_after_checkpoint(bench.folder_of(cell))})
        return original(bench, cell, **options)

    module.run_cell = run_cell
    module.work(bench, select(plan, plan.keys, plan.seeds))


def meet(folder, number):
    (folder / f"begun-{os.getpid()}").touch()
    deadline = time.monotonic() + 400
    while len(list(folder.glob("begun-*"))) < number and time.monotonic() < deadline:
        time.sleep(0.02)


def hang_after_checkpoint(folder):
    def stop():
        if (folder / "training" / "checkpoint" / "last.safetensors").exists():
            (folder / "hangs").touch()
            time.sleep(600)
        return False

    return stop


main(GIVEN)  # noqa: F821  runpy puts it there
