"""Claims: one owner, dead ones are taken over, living ones never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import pytest

from anticollapse.runs.process import Worker, identify, this_place
from anticollapse.studies import claim as module
from anticollapse.studies.claim import claim, owner_of


def put(folder, worker, *, number=0, age=0.0, released=False):
    folder.mkdir(exist_ok=True)
    file = folder / f"claim.{number}.json"
    file.write_text(json.dumps({"worker": asdict(worker), "host": "h", "released": released}))
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_claimed_once_until_it_is_released(tmp_path):
    first = claim(tmp_path / "run")
    assert first is not None
    assert claim(tmp_path / "run") is None
    assert owner_of(tmp_path / "run").worker == identify(os.getpid())
    first.release()
    again = claim(tmp_path / "run")
    assert again is not None
    assert again.check()
    assert not first.check()
    again.release()
    assert owner_of(tmp_path / "elsewhere") is None


def test_a_dead_process_of_this_machine_loses_its_claim_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    put(tmp_path, identify(process.pid), age=10_000)
    assert claim(tmp_path) is None  # it lives: the age of its heartbeat says nothing here
    process.kill()
    process.wait()
    held = claim(tmp_path)
    assert held is not None
    held.release()


def test_another_process_with_the_same_number_is_not_the_owner(tmp_path):
    own = identify(os.getpid())
    put(tmp_path, Worker(own.pid, "1", own.place))
    held = claim(tmp_path)
    assert held is not None
    held.release()


@pytest.mark.parametrize(("age", "taken"), [(0.0, False), (250.0, False), (400.0, True)])
def test_another_machine_is_dead_when_its_heartbeat_is_old(tmp_path, age, taken):
    put(tmp_path, Worker(1, "1", "another boot of another machine"), age=age)
    held = claim(tmp_path)
    assert (held is not None) == taken
    if held is not None:
        held.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"worker": {"pid": 1}}'])
def test_a_claim_that_cannot_be_read_counts_as_alive_while_it_is_fresh(tmp_path, text):
    file = tmp_path / "claim.0.json"
    file.write_text(text)
    assert claim(tmp_path) is None
    os.utime(file, (time.time() - 400,) * 2)
    held = claim(tmp_path)
    assert held is not None
    held.release()


def test_many_at_once_take_over_a_dead_claim_exactly_once(tmp_path):
    put(tmp_path, Worker(1, "1", f"{this_place()} gone"), age=10_000)
    barrier, got = threading.Barrier(12), []

    def race():
        barrier.wait()
        got.append(claim(tmp_path))

    threads = [threading.Thread(target=race) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for one in got if one is not None]
    assert len(held) == 1
    held[0].release()


def test_the_heartbeat_stays_fresh_and_sees_a_successor(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    held = claim(tmp_path)
    os.utime(held.file, (0, 0))
    deadline = time.monotonic() + 60
    while held.file.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.time() - held.file.stat().st_mtime < 60
    put(tmp_path, identify(os.getpid()), number=1)
    while not held.lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held.lost
    held.release()
    assert owner_of(tmp_path).released is False  # the successor's claim is untouched
