"""Pages without a browser.

AppTest loses what app.py draws on the second run of an app with st.navigation, so a page is run here the way app.py
does it, without the navigation itself; that is left to the browser tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def open_app(monkeypatch):
    """Gives a function from the name of a page to an app that has not run yet."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("ANTICOLLAPSE_DATA", raising=False)

    def open_it(page: str) -> AppTest:
        script = f"""
            import runpy, sys
            sys.path.insert(0, {str(ROOT)!r})
            from pages.common import sidebar
            sidebar.draw()
            runpy.run_path({str(ROOT / "pages" / page)!r})
        """
        lines = [line.strip() for line in script.strip().splitlines()]
        return AppTest.from_string("\n".join(lines), default_timeout=120)

    return open_it
