"""Train from the sidebar in a real browser: start, leave, come back, stop, resume, compare."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "ANTICOLLAPSE_SLOW" not in os.environ,
    reason="trains for minutes and failed now and then on a busy machine: set ANTICOLLAPSE_SLOW=1",
)

ROOT = Path(__file__).resolve().parents[2]
READY = "How to read this page"
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
    }
    running = type(server)(tmp_path_factory.mktemp("training-server"), environment)
    running.start()
    yield running
    running.stop()
    from anticollapse import runs

    for run in runs.list_runs(root):
        runs.stop(run.id, wait=True, root=root)


@pytest.fixture(scope="module")
def file():
    """Graded pairs of the demo, as somebody's own file."""
    from anticollapse.data import export_csv, load_pairs

    return export_csv(load_pairs("demo", split="train")).decode("utf-8-sig")


def upload(page, content):
    page.get_by_text("Drop a file into the sidebar").wait_for()
    buffer = {"name": "mine.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.locator("input[type=file]").set_input_files(buffer)
    page.get_by_text(READY).wait_for()


def fill(page, label, value):
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")


def strip(page):
    return page.get_by_test_id("stProgress").filter(has_text=re.compile("step \\d+ of 60"))


def step(page):
    return int(re.search(r"step (\d+) of", strip(page).first.inner_text()).group(1))


def latency(page):
    """Seconds from a click on a widget of the page to the answer."""
    answers = []
    names = ["raw-mini+centring", "raw-mini"]
    group = page.get_by_role("radiogroup", name="Worst under")
    for i in range(8):
        wanted = names[i % 2]
        frame = page.get_by_test_id("stMain").get_attribute("data-test-script-state")
        began = time.monotonic()
        group.get_by_role("radio", name=wanted, exact=True).click()
        # The link is written and the script has come to its end.
        page.wait_for_function(
            "name => (new URLSearchParams(location.search).get('worst') || 'raw-mini') === name"
            " && document.querySelector('.stApp').dataset.testScriptState === 'notRunning'",
            arg=wanted,
            polling=20,
        )
        assert frame is None or frame
        answers.append(time.monotonic() - began)
    return statistics.median(answers)


@pytest.mark.timeout(280)
def test_start_leave_come_back_stop_resume_and_compare(training_server, open_page, root, file, capsys):
    page = open_page(f"{training_server.url}/?data=my+file")
    page.set_default_timeout(TIME)
    upload(page, file)
    fill(page, "Steps", 60)
    fill(page, "Batch size", 96)
    page.get_by_text("Trains on 6").wait_for()  # a fifth of the file is held out
    page.get_by_role("button", name="Start", exact=True).click()
    strip(page).wait_for()

    # The page answers while the training runs.
    during = latency(page)
    with capsys.disabled():
        sys.stdout.write(f"\nmedian answer of a widget during a training: {during:.2f} s\n")

    # It goes on when the page is loaded again, and a second person sees it too.
    page.reload()
    strip(page).wait_for()
    other = open_page(training_server.url)
    other.set_default_timeout(TIME)
    strip(other).wait_for()
    assert abs(step(page) - step(other)) <= 5

    # It goes on when the server is killed and started again.
    other.wait_for_function(
        "() => /step (\\d+) of/.exec(document.querySelector('[data-testid=stProgress]').innerText)[1] > 6"
    )
    training_server.stop()
    training_server.start()
    page.goto(training_server.url)
    strip(page).wait_for()
    assert step(page) > 6

    page.get_by_role("button", name="Stop", exact=True).first.click()
    page.get_by_text("You stopped it.").first.wait_for()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("button", name="Show against its backbone").first.wait_for()
    page.get_by_text(re.compile("done · (All 60 steps|Ended early)")).first.wait_for()
    page.get_by_role("button", name="Show against its backbone").first.click()
    heading = page.get_by_role("heading", name=re.compile(r"Unrelated sentences score .* under sbert from raw-mini"))
    heading.wait_for()
    raw, tuned = (float(value) for value in re.findall(r"score (\d\.\d+) .* and (\d\.\d+)", heading.inner_text())[0])
    assert tuned < raw - 0.1
    ids = [folder.name for folder in root.iterdir() if re.fullmatch("[0-9a-f]{32}", folder.name)]
    assert page.url.endswith(f"encoders=raw-mini&encoders={ids[0]}")

    # In every session: the other one has it in its list.
    again = open_page(page.url)
    again.get_by_role("heading", name=re.compile(r"under sbert from raw-mini")).wait_for()
    assert "Traceback" not in training_server.log.read_text()


def test_the_downloaded_zip_loads(training_server, open_page, root, tmp_path):
    from sentence_transformers import SentenceTransformer

    page = open_page(f"{training_server.url}/runs")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    shutil.unpack_archive(download.value.path(), tmp_path / "out", "zip")
    (folder,) = (tmp_path / "out").iterdir()
    assert SentenceTransformer(str(folder), device="cpu").encode(["a dog runs"]).shape == (1, 256)


def test_delete_asks_first(training_server, open_page, root):
    page = open_page(f"{training_server.url}/runs")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("There is no way back.").wait_for()
    assert any(re.fullmatch("[0-9a-f]{32}", folder.name) for folder in root.iterdir())
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_role("heading", name="Nothing was trained yet").wait_for()
    assert not any(re.fullmatch("[0-9a-f]{32}", folder.name) for folder in root.iterdir())
