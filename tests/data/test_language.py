from __future__ import annotations

import pytest

from anticollapse.data import mostly_chinese


@pytest.mark.parametrize(
    ("sentences", "is_so"),
    [
        (["一个女人在弹吉他。", "飞机"], True),
        (["這個國家的經濟發展很快，我們都很高興。"], True),
        (["RT 分析师 James 表示，股市上涨 2.47%"], True),
        (["A man eats.", "一个"], False),
        (["猫がソファで寝ているところを見ました。"], False),
        (["나는 어제 친구와 함께 영화를 보았다."], False),
        (["1234 !!", ""], False),
        ([], False),
        ([*["A man eats."] * 200, *["一个女人在弹吉他"] * 900], False),
    ],
)
def test_mostly_chinese(sentences, is_so):
    assert mostly_chinese(sentences) is is_so
