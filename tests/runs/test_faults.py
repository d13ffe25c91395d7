"""What goes wrong: killed workers, a killed server, a full disk, two servers, a jumping clock."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from anticollapse import runs
from anticollapse.errors import RunError
from anticollapse.runs import process, queue, stopping, store, worker
from anticollapse.runs.process import Worker
from anticollapse.training.checkpoint import load as load_checkpoint
from anticollapse.training.loop import LAST

HERE = Path(__file__).parent


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def step_of(run, root):
    return runs.get(run.id, root=root).progress.get("step", 0)


def position(run):
    return load_checkpoint(run.folder / LAST).state["position"]["step"]


def artefacts_are_whole(folder):
    """Whatever is there loads."""
    if (folder / LAST).exists():
        load_checkpoint(folder / LAST)
    if (folder / "model").exists():
        assert SentenceTransformer(str(folder / "model"), device="cpu").encode(["a dog"]).shape == (1, 32)
    json.loads((folder / "run.json").read_text())


@pytest.mark.timeout(200)
def test_twenty_kills_at_random_moments(root, pairs, options, settings, forked):
    long = dataclasses.replace(options, steps=100_000, evaluate_every=3, checkpoint_every=2)
    run = runs.start("sbert", "tiny", pairs, dev=pairs, options=long, root=root, settings=settings)
    chance = random.Random(4)
    after = []
    for kill in range(20):
        if kill % 2:  # half of them while it trains, half of them at any moment of its life
            wait_until(lambda: (run.folder / LAST).exists())
        if kill % 5 == 4:  # and now and then once it has come further than before, however slow the machine is
            wait_until(lambda: (run.folder / LAST).exists() and position(run) > max(after, default=0))
        time.sleep(chance.uniform(0, 0.8))
        worker = store.read(run.folder).worker
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda worker=worker: process.identify(worker.pid) != worker)
        now = next(one for one in runs.list_runs(root) if one.id == run.id)
        assert now.state == "lost"
        assert "vanished" in now.reason
        artefacts_are_whole(run.folder)
        assert not list(run.folder.glob(".*.tmp"))
        if (run.folder / LAST).exists():
            after.append(position(run))
        assert runs.resume(run.id, root=root, settings=settings).state == "running"
    assert after == sorted(after)
    assert after[-1] > after[0] > 0  # each session went on where the last one was cut off
    wait_until(lambda: step_of(run, root) > after[-1])
    stopped = runs.stop(run.id, wait=True, root=root, settings=dataclasses.replace(settings, grace_seconds=30))
    assert stopped.state == "stopped"
    assert stopped.attempts == 21
    assert stopped.reason.startswith("You stopped it.")
    artefacts_are_whole(run.folder)


def test_a_killed_server_and_an_absent_one_leave_the_queue_going(root, pairs, options):
    script = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from conftest import make_pairs, OPTIONS
from anticollapse import runs
for name in ("first", "second"):
    print(runs.start("sbert", "tiny", make_pairs(), dev=make_pairs(), options=OPTIONS, name=name).id, flush=True)
time.sleep(100)
"""
    environment = {**os.environ, "ANTICOLLAPSE_CHECKPOINTS": str(root)}
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    ids = [server.stdout.readline().strip() for _ in range(2)]
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    first, second = (store.read(root / one) for one in ids)
    assert (first.state, second.state) == ("running", "queued")
    assert process.is_alive(first.worker, first.heartbeat)
    # Nobody pumps: run.json is read and nothing else. The first worker starts the second one.
    wait_until(lambda: store.read(root / ids[1]).has_ended, 120)
    first, second = (store.read(root / one) for one in ids)
    assert (first.state, second.state) == ("done", "done")
    assert second.started >= first.ended - 0.5
    for run in (first, second):
        assert run.progress["step"] == 6
        artefacts_are_whole(run.folder)
    log = runs.log_tail(first.folder)
    assert "All 6 steps are done" in log
    assert "Traceback" not in log


def test_a_full_disk_is_a_failure_with_its_reason_and_what_was_there_stays(root, pairs, options, settings, forked):
    forked.breaks = "disk"
    run = runs.start("sbert", "tiny", pairs, dev=pairs, options=options, root=root, settings=settings)
    failed = runs.wait_for(run.id, timeout=60, root=root)
    assert failed.state == "failed"
    assert failed.reason == "The disk is full. What was kept before is intact: make room and resume."
    artefacts_are_whole(run.folder)
    assert load_checkpoint(run.folder / LAST).state["position"]["step"] == 4
    forked.breaks = ""
    runs.resume(run.id, root=root, settings=settings)
    done = runs.wait_for(run.id, timeout=60, root=root)
    assert (done.state, done.progress["step"]) == ("done", 6)


def test_the_end_is_written_even_when_there_is_no_room_for_it(root, pairs, options, settings, fake, monkeypatch):
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).has_ended)
    store.put_spare(run.folder)
    real = store.write_json

    def no_room(file, value, **named):
        if (run.folder / store.SPARE).exists():
            raise OSError(28, "No space left on device")
        real(file, value, **named)

    monkeypatch.setattr(store, "write_json", no_room)
    store.write_last(dataclasses.replace(run, state="failed", reason="The disk is full."))
    assert store.read(run.folder).reason == "The disk is full."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_really_full_file_system(tmp_path, tiny_encoder, pairs, options, settings, forked):
    import shutil

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        shutil.copytree(tiny_encoder, small / "tiny")
        long = dataclasses.replace(options, steps=100_000)
        run = runs.start("sbert", "tiny", pairs, dev=pairs, options=long, root=small, settings=settings)
        wait_until(lambda: (run.folder / LAST).exists())
        free = shutil.disk_usage(small).free
        (small / "ballast").write_bytes(b"x" * max(free - 8192, 0))
        ended = runs.wait_for(run.id, timeout=60, root=small)
        artefacts_are_whole(run.folder)
        assert ended.state == "failed"
        assert "disk is full" in ended.reason
    finally:
        for one in forked.processes:
            one.kill()
            one.join()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_after_a_kill_with_nobody_there_the_queue_waits_until_somebody_looks(root, pairs, options, settings, forked):
    long = dataclasses.replace(options, steps=100_000)
    first, second = (
        runs.start("sbert", "tiny", pairs, options=long, name=name, root=root, settings=settings)
        for name in ("first", "second")
    )
    worker = store.read(first.folder).worker
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: process.identify(worker.pid) != worker)
    assert store.read(second.folder).state == "queued"  # as docs/runs.md says: no service has to stay alive
    assert [run.state for run in runs.list_runs(root)] == ["running", "lost"]


def test_two_servers_on_one_root_train_one_at_a_time(
    root, pairs, options, settings, fake, forker, monkeypatch, tmp_path
):
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)  # only the two servers start anything
    ids = [runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings).id for _ in range(6)]
    given = {
        "task": "pump",
        "root": str(root),
        "record": str(fake.file),
        "fake": str(HERE / "fake_worker.py"),
        "seconds": 4,
        "env": {"ANTICOLLAPSE_RUNS_KEEP_FREE_MB": "0"},
    }
    servers = [forker({**given, "log": str(tmp_path / f"server{i}.txt")}) for i in range(2)]
    for server in servers:
        server.join(60)
        assert server.exitcode == 0
    assert [one for *_, one in fake()] == ids
    one_at_a_time(fake())


def test_ten_runs_from_five_sessions_end_in_order(root, pairs, options, settings, fake):
    asked = []
    lock = threading.Lock()

    def session(number):
        for part in range(2):
            with lock:  # who pressed first is known; everything else happens side by side
                run = runs.start(
                    "sbert", "tiny", pairs, options=options, name=f"{number}.{part}", root=root, settings=settings
                )
                asked.append(run.id)
            listing = runs.Listing(root, every=0.02)
            for _ in range(10):
                if runs.needs_pump(listing.runs(), settings):
                    runs.pump(root, settings)
                time.sleep(0.01)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: all(run.has_ended for run in runs.list_runs(root)))
    found = runs.list_runs(root)
    assert [run.id for run in reversed(found)] == asked
    assert {run.state for run in found} == {"done"}
    assert [one for *_, one in fake()] == asked
    one_at_a_time(fake())


def one_at_a_time(record):
    for (*_, end, _), (_, start, *_) in itertools.pairwise(record):
        assert end <= start


def test_a_jumping_clock_kills_nobody(root, pairs, options, settings, fake, monkeypatch):
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).has_ended)
    for jump in (-86_400.0, 86_400.0):
        alive = dataclasses.replace(
            run, state="running", worker=process.identify(os.getpid()), heartbeat=time.time() + jump
        )
        store.write(alive)
        runs.pump(root, settings)
        assert store.read(run.folder).state == "running"
    # Ids of processes are given out again: the same number with another start is another process.
    store.write(dataclasses.replace(alive, worker=dataclasses.replace(alive.worker, started="1")))
    runs.pump(root, settings)
    assert store.read(run.folder).state == "lost"


@pytest.mark.parametrize(("age", "state"), [(0.0, "running"), (3600.0, "lost")])
def test_the_heartbeat_decides_for_another_machine(root, pairs, options, settings, fake, age, state):
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).has_ended)
    far = Worker(os.getpid(), "1", "another boot")
    store.write(dataclasses.replace(run, state="running", worker=far, heartbeat=time.time() - age))
    runs.pump(root, settings)
    assert store.read(run.folder).state == state


def test_a_worker_that_does_not_listen_is_ended(root, pairs, options, settings, forked):
    forked.breaks = "deaf"
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).heartbeat > run.heartbeat)
    stopped = runs.stop(run.id, wait=True, root=root, settings=dataclasses.replace(settings, grace_seconds=0.5))
    assert stopped.state == "stopped"
    assert "did not answer" in stopped.reason
    wait_until(lambda: process.identify(run.worker.pid) is None)  # it says so just before it dies
    assert not run.stop_asked


def test_the_time_limit_ends_a_worker_that_does_not_listen_and_nobody_looks(root, pairs, options, settings, forked):
    forked.breaks = "deaf"
    short = dataclasses.replace(settings, max_hours=0.5 / 3600, grace_seconds=0.3)
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=short)
    ended = wait_until(lambda: (now := store.read(run.folder)).has_ended and now)
    assert ended.state == "stopped"
    assert ended.reason.startswith("It reached the time limit of 0.000138889 hours. It did not answer in time")
    wait_until(lambda: process.identify(run.worker.pid) is None)


def test_the_limits_that_a_run_was_started_with_reach_its_worker(root, pairs, options, settings, forked):
    short = dataclasses.replace(settings, max_hours=0.0001, grace_seconds=30.0)
    long = dataclasses.replace(options, steps=100_000)
    run = runs.start("sbert", "tiny", pairs, dev=pairs, options=long, root=root, settings=short)
    stopped = runs.wait_for(run.id, timeout=60, root=root)
    assert stopped.state == "stopped"
    assert stopped.reason.startswith("It reached the time limit of 0.0001 hours.")
    # What it was given once does not stick to it: it is resumed with the limits of then.
    assert runs.resume(run.id, root=root, settings=settings).limits == settings.limits


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.fixture
def stubborn(root, pairs, options, settings, fake):
    """A run whose worker neither reads its folder nor listens to SIGTERM; gives a function that makes it."""
    made = []

    def make(**limits):
        run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
        wait_until(lambda: store.read(run.folder).has_ended)
        one = subprocess.Popen(
            [sys.executable, "-I", "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        made.append(one)
        one.stdout.readline()
        now = dataclasses.replace(
            store.read(run.folder), state="running", worker=process.identify(one.pid), heartbeat=time.time(),
            limits={**settings.limits, **limits},
        )  # fmt: skip
        store.write(now)
        return now, one

    yield make
    for one in made:
        one.kill()
        one.wait()
        one.stdout.close()


def pump_until_it_ends(run, root, settings):
    def ended():
        if runs.needs_pump(runs.Listing(root).runs(), settings):
            runs.pump(root, settings)
        return (now := store.read(run.folder)).has_ended and now

    return wait_until(ended)


def test_whoever_looks_next_carries_on_with_a_stop_whose_server_was_killed(root, settings, stubborn):
    run, worker = stubborn()
    runs.stop(run.id, root=root, settings=dataclasses.replace(settings, grace_seconds=0.5))  # and nothing is left of it
    runs.stop(run.id, root=root, settings=dataclasses.replace(settings, grace_seconds=600))  # the first one counts
    stopped = pump_until_it_ends(run, root, settings)
    assert worker.wait(10) == -signal.SIGKILL
    assert stopped.state == "stopped"
    assert stopped.reason.startswith("You stopped it. It did not answer in time and was ended.")
    assert not stopped.stop_asked


def test_whoever_looks_ends_what_is_over_its_time(root, settings, stubborn):
    run, worker = stubborn(max_hours=0.2 / 3600, grace_seconds=0.3)
    stopped = pump_until_it_ends(run, root, settings)
    assert worker.wait(10) == -signal.SIGKILL
    assert stopped.state == "stopped"
    assert stopped.reason.startswith("It reached the time limit of")


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_jumping_clock_makes_no_stop_more_urgent(root, settings, stubborn, monkeypatch, jump):
    run, worker = stubborn()
    runs.stop(run.id, root=root, settings=dataclasses.replace(settings, grace_seconds=60))
    whole = time.time
    monkeypatch.setattr(time, "time", lambda: whole() + jump)
    request = stopping.asked(run, settings)
    assert 0 <= request.seconds < 60
    assert not runs.needs_pump([run], settings)
    runs.pump(root, settings)
    assert worker.poll() is None
    assert store.read(run.folder).state == "running"


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


def dead(run):
    """The run as a killed worker leaves it."""
    now = dataclasses.replace(run, state="running", worker=Worker(os.getpid(), "1", process.this_place()))
    store.write(now)
    return now


def test_a_dead_worker_is_lost_on_a_full_disk_too(root, pairs, options, settings, fake, monkeypatch):
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).has_ended)
    store.put_spare(dead(run).folder)
    whole = store.write_json

    def full(file, value, **named):
        if (run.folder / store.SPARE).exists():
            no_space()
        whole(file, value, **named)

    monkeypatch.setattr(store, "write_json", full)
    assert [one.state for one in runs.list_runs(root)] == ["lost"]
    assert store.read(run.folder).state == "lost"


def test_where_nothing_at_all_can_be_written_runs_are_listed_as_they_are(
    root, pairs, options, settings, fake, monkeypatch
):
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).has_ended)
    dead(run)
    monkeypatch.setattr(store, "write_json", no_space)
    assert [one.state for one in runs.list_runs(root)] == ["lost"]
    for action in (runs.pump, lambda root: runs.stop(run.id, root=root), lambda root: runs.resume(run.id, root=root)):
        with pytest.raises(RunError, match="No space left on device"):
            action(root)
    runs.delete(run.id, root=root)  # which is what helps
    assert not run.folder.exists()


def test_a_start_that_cannot_be_written_is_taken_back(root, pairs, options, settings, fake, monkeypatch):
    spawned, whole, write = [], queue._spawn, store.write

    def spawn(run, environment):
        spawned.append(subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"],
                                        start_new_session=True))  # fmt: skip
        return spawned[-1]

    monkeypatch.setattr(queue, "_spawn", spawn)
    monkeypatch.setattr(
        store, "write", lambda run, **named: no_space() if run.state == "running" else write(run, **named)
    )
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    assert run.state == "failed"
    assert "No space left on device" in run.reason
    assert [one.poll() for one in spawned] == [-signal.SIGKILL]
    runs.pump(root, settings)
    assert len(spawned) == 1  # no chain of processes
    monkeypatch.setattr(store, "write", write)
    monkeypatch.setattr(queue, "_spawn", whole)
    runs.resume(run.id, root=root, settings=settings)
    wait_until(lambda: store.read(run.folder).state == "done")


def test_without_room_for_its_end_nothing_is_started(root, pairs, options, settings, fake, monkeypatch):
    monkeypatch.setattr(store, "put_spare", no_space)
    monkeypatch.setattr(queue, "_spawn", lambda *_: pytest.fail("a process was started"))
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    assert run.state == "queued"
    with pytest.raises(RunError, match="No space left on device"):
        runs.pump(root, settings)


def test_a_worker_that_nobody_wrote_down_starts_nothing(root, pairs, options, settings, monkeypatch):
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    monkeypatch.setattr(worker, "pump_locked", lambda *_: pytest.fail("the queue was moved on"))
    assert worker.main([str(run.folder)]) == 1
    assert store.read(run.folder).state == "queued"


@pytest.mark.parametrize(("asked", "started"), [(False, 0), (True, 1)])
def test_a_signal_of_the_system_does_not_start_the_next_run(
    root, pairs, options, settings, monkeypatch, asked, started
):
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)
    run = runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    run = dataclasses.replace(run, state="running", worker=process.identify(os.getpid()), attempts=1)
    store.write(run)
    pumped = []
    monkeypatch.setattr(worker, "pump_locked", lambda *given: pumped.append(given))
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)

    def train(_, reporter):
        if asked:
            stopping.ask(run, 60)
        reporter.hear_signal(signal.SIGTERM, None)
        return "stopped", reporter.why_stop

    monkeypatch.setattr(worker, "_train", train)
    assert worker.main([str(run.folder)]) == 0
    assert len(pumped) == started
    assert store.read(run.folder).reason == (stopping.BY_YOU if asked else worker.BY_SYSTEM)


def test_a_stop_on_a_full_disk_is_asked_for_or_said(root, settings, stubborn, monkeypatch):
    run, _ = stubborn()
    monkeypatch.setattr(store, "write_json", no_space)
    runs.stop(run.id, root=root, settings=settings)
    assert run.stop_asked
    assert stopping.asked(run, settings).grace == settings.grace_seconds
    (run.folder / store.STOP).unlink()
    monkeypatch.setattr(Path, "touch", no_space)
    with pytest.raises(RunError, match="No space left on device"):
        runs.stop(run.id, root=root, settings=settings)


def test_on_a_nearly_full_disk_the_queue_waits(root, pairs, options, settings, fake, monkeypatch):
    whole = queue._start
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)
    for _ in range(3):
        runs.start("sbert", "tiny", pairs, options=options, root=root, settings=settings)
    monkeypatch.setattr(queue, "_start", whole)
    for run in store.all_runs(root):
        store.write(dataclasses.replace(run, limits={"keep_free_mb": 2**40}))
    assert runs.pump(root, settings) == []
    found = store.all_runs(root)
    assert [run.state for run in found] == ["queued"] * 3
    assert runs.held_up(found, settings).startswith("the disk is nearly full")
    assert not runs.needs_pump(found, settings)
    for run in found:
        store.write(dataclasses.replace(run, limits=settings.limits))
    wait_until(lambda: all(run.state == "done" for run in runs.list_runs(root)))


def test_who_waits_for_a_waiting_run_is_not_kept_by_a_dead_one(root, pairs, options, settings, forked):
    long = dataclasses.replace(options, steps=100_000)
    first, second = (
        runs.start("sbert", "tiny", pairs, options=one, root=root, settings=settings) for one in (long, options)
    )
    worker = store.read(first.folder).worker
    os.kill(worker.pid, signal.SIGKILL)
    assert runs.wait_for(second.id, timeout=60, root=root).state == "done"
    assert store.read(first.folder).state == "lost"
