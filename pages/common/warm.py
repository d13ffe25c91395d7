"""What a first map would wait for is compiled in the background, once an installation, and loaded once a server."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import streamlit as st

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
COMPILE = "import os; os.nice(19); from anticollapse.measures.projection import warm_up; warm_up()"


@st.cache_resource
def start() -> None:
    """Start compiling; the first caller goes on at once."""
    threading.Thread(target=_run, daemon=True, name="warm-up").start()


def _run() -> None:
    # In a process of its own, which leaves the compiled code on disk: compiling here would hold the interpreter's lock
    # and slow the pages that a person opens meanwhile.
    try:
        subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, check=True, capture_output=True, timeout=600)
        from anticollapse.measures.projection import warm_up

        warm_up()
    except Exception:  # a first map that waits is better than a server that reports a thread
        logger.exception("the warm-up of the map failed")
