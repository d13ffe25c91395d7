"""anticollapse: navigation, sidebar, theme; nothing else."""

from __future__ import annotations

import streamlit as st

from pages.common import sidebar, strip, warm

PAGES = [
    st.Page("pages/collapse.py", title="Collapse", icon=":material/compress:", default=True),
    st.Page("pages/tokens.py", title="Tokens", icon=":material/text_fields:"),
    st.Page("pages/map.py", title="Map", icon=":material/scatter_plot:"),
    st.Page("pages/compare.py", title="Compare", icon=":material/balance:"),
    st.Page("pages/runs.py", title="Runs", icon=":material/model_training:"),
]

st.set_page_config(page_title="anticollapse", page_icon="pages/common/icon.svg", layout="wide")
page = st.navigation(PAGES)
sidebar.draw()
strip.draw()
page.run()
# After the page: the first one a person sees does not share the machine with a compiler.
warm.start()
