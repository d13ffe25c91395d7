"""Parts that are drawn anew on their own cannot move what stands below them."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def page():
    import streamlit as st

    from pages.common import fragments

    fragments.draw(lambda text: st.caption(text), 3.0, "a part")
    st.title("What stands below")


def test_the_fragments_own_container_is_inside_one_that_is_not_the_fragments():
    at = AppTest.from_function(page).run()
    assert not at.exception
    outer, title = at.main.children.values()
    assert title.value == "What stands below"
    (inner,) = outer.children.values()
    assert outer.type == inner.type == "flex_container"
    assert [caption.value for caption in inner.children.values()] == ["a part"]
