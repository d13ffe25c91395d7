"""What is printed for a terminal: tables that keep to their width, paragraphs, numbers with their nouns."""

from __future__ import annotations

import pytest

from anticollapse.commands.terminal import display_width, paragraph, table
from anticollapse.wording import count


def test_wrapped_cells_keep_to_their_width_and_lose_no_word():
    text = "a rather long explanation of what a number means"
    lines = table(["name", "meaning"], [["one", text], ["two", ""]], wrap={1: 16}).splitlines()
    assert max(map(len, lines)) <= len("name") + 2 + 16
    rows = lines[2:]
    assert " ".join(" ".join(line[4:].split()) for line in rows[:-1]).split() == text.split()
    assert [line.split()[0] for line in (rows[0], rows[-1])] == ["one", "two"]
    assert all(line.startswith("      ") for line in rows[1:-1])


def test_without_wrapping_wide_characters_are_aligned():
    lines = table(["a", "b"], [["中文", "1"], ["x", "22"]], right=(1,)).splitlines()
    assert lines[2:] == ["中文   1", "x     22"]
    assert {display_width(line) for line in lines[2:]} == {8}


def test_a_paragraph_fits_and_is_indented():
    lines = paragraph("word " * 40, indent="  ", width=30).splitlines()
    assert max(map(len, lines)) <= 30
    assert all(line.startswith("  word") for line in lines)


@pytest.mark.parametrize(("n", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1379, "1,379 rows")])
def test_nouns_are_counted(n, text):
    assert count(n, "row") == text
