"""Train from the sidebar in a real browser: start, leave, come back, stop, resume, compare.

So that no test depends on how fast the machine is, the training process is held (SIGSTOP) while two people and a
restarted server look at it: what they show then has to be the step at which it stands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
TIME = 120_000


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint root of our own, so that nothing is left in the project's."""
    folder = tmp_path_factory.mktemp("root") / "checkpoints"
    folder.mkdir()
    shutil.copytree(ROOT / "checkpoints" / "raw-mini", folder / "raw-mini")
    return folder


@pytest.fixture(scope="module")
def training_server(tmp_path_factory, root, server):
    environment = {
        "ANTICOLLAPSE_DATA": "",
        "HF_HUB_OFFLINE": "1",
        "ANTICOLLAPSE_CHECKPOINTS": str(root),
        "ANTICOLLAPSE_RUNS_KEEP_FREE_MB": "0",
        "ANTICOLLAPSE_RUNS_THREADS": "1",
        "ANTICOLLAPSE_RUNS_NICENESS": "0",  # a busy machine starves a process of low priority for minutes
        "CUDA_VISIBLE_DEVICES": "",  # where a training takes a moment, there is nothing to see of it
    }
    running = type(server)(tmp_path_factory.mktemp("training-server"), environment)
    running.start()
    yield running
    running.stop()
    from anticollapse.runs import store

    for run in store.all_runs(root):
        if run.state == "running":
            os.killpg(run.worker.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def file():
    """Graded pairs of the demo, as somebody's own file."""
    import numpy as np

    from anticollapse.data import export_csv, load_pairs

    pairs = load_pairs("demo", split="train")
    return export_csv(pairs.subset(np.arange(100)))


def upload(page, content):
    page.get_by_text("Choose sentence pairs above first.").wait_for()
    page.locator("input[type=file]").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": content})
    page.get_by_text(re.compile(r"Trains on \d\d pairs of mine\.csv")).wait_for()  # a fifth is held out


def fill(page, label, value):
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")


@pytest.fixture
def trained(root, training_server):
    """A finished run: the one of the first test, or one of its own where that test was not run or a run was deleted."""
    from anticollapse import runs
    from anticollapse.data import load_pairs
    from anticollapse.runs import store
    from anticollapse.training import TrainingOptions

    if not store.all_runs(root):
        pairs = load_pairs("demo", split="train")
        options = TrainingOptions(steps=20, batch_size=4)
        settings = runs.RunSettings(keep_free_mb=0, threads=1)
        runs.start("sbert", "raw-mini", pairs, options=options, root=root, settings=settings)
    wait_until(lambda: the_run(root).has_ended)
    return the_run(root)


def the_run(root):
    from anticollapse.runs import store

    (run,) = store.all_runs(root)
    return run


def wait_until(condition, seconds=TIME / 1000):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def forget_all(root):
    """Take away what an earlier try of this test left, with its process."""
    from anticollapse.runs import store

    for run in store.all_runs(root):
        if run.state == "running" and run.worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.worker.pid, signal.SIGKILL)
        shutil.rmtree(run.folder, ignore_errors=True)


def strip(page, step):
    """The line above the page when it says that the training stands at this step."""
    return page.get_by_test_id("stProgress").filter(has_text=f"step {step} of 60")


def test_start_leave_come_back_stop_resume_and_compare(training_server, open_page, root, file):
    forget_all(root)
    page = open_page(f"{training_server.url}/runs?data=my+file&encoders=raw-mini")
    page.set_default_timeout(TIME)
    page.get_by_role("heading", name="Nothing was trained yet").wait_for()
    upload(page, file)
    fill(page, "Steps", 60)
    fill(page, "Batch size", 4)
    page.get_by_role("button", name="Start", exact=True).click()
    wait_until(lambda: [f for f in root.iterdir() if re.fullmatch("[0-9a-f]{32}", f.name)])
    wait_until(lambda: the_run(root).progress.get("step", 0) >= 2)
    os.kill(the_run(root).worker.pid, signal.SIGSTOP)
    mine = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert os.getpriority(os.PRIO_PROCESS, the_run(root).worker.pid) == max(0, mine)
    step = the_run(root).progress["step"]
    assert 2 <= step < 50

    # It is there when the page is loaded again, a second person with the same link sees the same, and when the server
    # is killed and started again it is there too.
    strip(page, step).wait_for()
    page.reload()
    strip(page, step).wait_for()
    link = page.url
    assert f"run={the_run(root).id}" in link
    training_server.stop()
    training_server.start()
    page.goto(link)
    other = open_page(link)
    other.set_default_timeout(TIME)
    for one in (page, other):
        strip(one, step).wait_for()
    upload(page, file)

    other.get_by_role("button", name="Stop", exact=True).first.click()
    page.get_by_role("button", name="Stopping …").first.wait_for()
    os.kill(the_run(root).worker.pid, signal.SIGCONT)
    for one in (page, other):
        one.get_by_text("You stopped it.").first.wait_for()
    stopped = the_run(root)
    assert (stopped.state, stopped.attempts) == ("stopped", 1)
    assert step <= stopped.progress["step"] < 60

    page.get_by_role("button", name="Resume", exact=True).click()
    for one in (page, other):
        one.get_by_text(re.compile("done · (All 60 steps|Ended early)")).first.wait_for()
    done = the_run(root)
    assert (done.state, done.attempts) == ("done", 2)
    assert done.progress["step"] > stopped.progress["step"]
    heading = page.get_by_role("heading", name=re.compile(r"Unrelated sentences score .* under sbert from raw-mini"))
    show = page.get_by_role("button", name="Show against its backbone")
    for _ in range(4):
        # The strip and the list are drawn anew when a run ends, and a click between two drawings is lost.
        if show.count():
            show.last.click()
        with contextlib.suppress(PlaywrightTimeoutError):
            page.wait_for_url(re.compile(rf"encoders=raw-mini&encoders={done.id}"), timeout=20_000)
            break
    heading.wait_for()
    raw, tuned = (float(value) for value in re.findall(r"\d\.\d+", heading.inner_text())[:2])
    assert tuned < raw - 0.02
    spread = page.get_by_role("table").get_by_role("row").filter(has_text="Std × √d")
    spread.wait_for()
    cells = spread.locator("th, td").all_inner_texts()
    raw, tuned = (float(found[0]) for cell in cells if (found := re.match(r"\d\.\d+", cell.strip())))
    assert tuned > raw  # it is 1 where vectors spread alike in all directions
    assert f"encoders=raw-mini&encoders={done.id}" in page.url
    assert "Traceback" not in training_server.log.read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_problem_of_ours(training_server, open_page, serious, trained, theme):
    page = open_page(f"{training_server.url}/runs", theme=theme)
    page.set_default_timeout(TIME)
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_role("tab", name="Log").wait_for()
    page.wait_for_function("() => document.querySelectorAll('[data-testid=stSkeleton]').length === 0")
    # The strip is drawn anew every three seconds and pales when a busy machine takes long for it, so it is put away.
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Close", exact=True).wait_for(state="detached")
    page.wait_for_function("() => document.querySelectorAll('[data-stale=true]').length === 0")
    assert serious(page) == []


def test_narrow_window_shows_everything(training_server, open_page, trained):
    page = open_page(f"{training_server.url}/runs", width=800)
    page.set_default_timeout(TIME)
    page.locator(".js-plotly-plot").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


def test_the_downloaded_zip_loads(training_server, open_page, trained, tmp_path):
    from sentence_transformers import SentenceTransformer

    page = open_page(f"{training_server.url}/runs")
    page.set_default_timeout(TIME)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    shutil.unpack_archive(download.value.path(), tmp_path / "out", "zip")
    (folder,) = (tmp_path / "out").iterdir()
    assert SentenceTransformer(str(folder), device="cpu").encode(["a dog runs"]).shape == (1, 256)


def test_delete_asks_first(training_server, open_page, trained):
    page = open_page(f"{training_server.url}/runs")
    page.set_default_timeout(TIME)
    folder = trained.folder
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("There is no way back.").wait_for()
    assert folder.exists()
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_role("heading", name="Nothing was trained yet").wait_for()
    assert not folder.exists()
