"""anticollapse: navigation, sidebar, theme; nothing else."""

from __future__ import annotations

import streamlit as st

from pages.common import sidebar

PAGES = [st.Page("pages/collapse.py", title="Collapse", icon=":material/compress:", default=True)]

st.set_page_config(page_title="anticollapse", page_icon="pages/common/icon.svg", layout="wide")
page = st.navigation(PAGES)
sidebar.draw()
page.run()
