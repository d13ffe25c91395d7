"""The app in a real browser: a server of its own, Debian's Chromium, no network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests skip together where there is no Chromium; ``tests/conftest.py`` keeps them on one worker."""
    for item in items:
        if Path(item.fspath).parent != Path(__file__).parent:
            continue
        item.add_marker(pytest.mark.browser)
        # On a busy machine a browser may lose a click between two redraws. Once more is enough to tell that from a
        # fault, and the summary counts it.
        item.add_marker(pytest.mark.flaky(reruns=1))
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="there is no Chromium here: install Debian's package chromium"))


# Streamlit's own markup, which no page can change.
NOT_OURS = {"scrollable-region-focusable", "aria-allowed-attr", "nested-interactive", "label", "aria-input-field-name"}
# Streamlit writes the chosen segment in the accent on its own tint; in the dark no accent passes there and under the
# white text of chips and buttons, and those are more and must be read.
SEGMENTS = "[data-testid='stButtonGroup']"


@pytest.fixture
def serious():
    """What axe finds on a page that keeps people out and that is ours: (rule, element, what to do)."""
    from axe_playwright_python.sync_playwright import Axe

    def problems(page) -> list[tuple[str, str, str]]:
        found = Axe().run(page, context={"exclude": [[SEGMENTS]]}).response["violations"]
        return [
            (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300])
            for one in found
            if one["impact"] in {"serious", "critical"} and one["id"] not in NOT_OURS
        ]

    return problems


class Server:
    """A running app.

    Attributes:
        url: Where it listens.
        log: What it printed.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.env = {**os.environ, "ANTICOLLAPSE_CACHE": str(folder / "cache"), **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).read()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def stop(self) -> None:
        """Stop at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as a fresh user gets it: no cache, no data folder, no network to a hub."""
    folder = tmp_path_factory.mktemp("server")
    running = Server(folder, {"ANTICOLLAPSE_DATA": "", "HF_HUB_OFFLINE": "1"})
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Open a page in a fresh context; its requests to other machines are recorded in ``page.foreign``."""
    contexts = []

    def open_it(url: str, *, theme: str = "light", width: int = 1440):
        context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=theme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.foreign = []
        page.on("request", lambda request: page.foreign.append(request.url) if _is_foreign(request.url) else None)
        page.on("websocket", lambda socket: page.foreign.append(socket.url) if _is_foreign(socket.url) else None)
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody has asked for anything yet."""
    running = Server(tmp_path, {"ANTICOLLAPSE_DATA": "", "HF_HUB_OFFLINE": "1"})
    running.start()
    yield running
    running.stop()
