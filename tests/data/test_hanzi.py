from __future__ import annotations

import pytest

from anticollapse.data import load_pairs, read_pairs
from anticollapse.errors import DataError

KOREAN = [
    "나는 어제 친구와 함께 영화를 보았다.",
    "한 여자가 기타를 치고 있다.\n고양이가 소파에서 자고 있다.",
    "고양이",
    "안녕하세요",
]
JAPANESE = ["猫がソファで寝ているところを見ました。", "女性がギターを弾いている", "東京大学", "カメラ"]
CHINESE = [
    "一个女人在弹吉他。",
    "飞机",
    "你好",
    "切洋葱",
    "斑马、犀牛、鸵鸟",
    "哈萨克斯坦首都阿斯塔纳",
    "中国石油化工股份有限公司",
    "量子力学是物理学的一个分支。\nsentence, mostly in English, with one 词",
    "這個國家的經濟發展很快，我們都很高興。",
]


@pytest.mark.parametrize(
    ("texts", "encoding", "name"),
    [
        (KOREAN, "euc_kr", "Korean (EUC-KR)"),
        (JAPANESE, "euc_jp", "Japanese (EUC-JP)"),
        (JAPANESE, "shift_jis", "Japanese (Shift JIS)"),
        (["這個國家的經濟發展很快。", "貓在沙發上睡覺", "飛機"], "big5", "traditional Chinese (Big5)"),
    ],
)
def test_other_east_asian_text_is_refused_and_named(texts: list[str], encoding: str, name: str) -> None:
    for text in texts:
        with pytest.raises(DataError) as caught:
            read_pairs(text.encode(encoding), name="old.txt")
        assert name in caught.value.what
        assert "UTF-8" in caught.value.remedy


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_stays_chinese_however_short(text: str) -> None:
    pairs = read_pairs(text.encode("gb18030"), name="old.txt")
    assert pairs.sentences1 == tuple(text.split("\n"))
    assert "GB18030" in pairs.notes[0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("кошка спит на диване, а собака гуляет в саду, привет всем друзьям", "cp1251"),
        ("кошка спит на диване, а собака гуляет в саду, привет всем друзьям", "koi8-r"),
        ("η γατα κοιμαται στον καναπε", "iso8859_7"),
        ("แมวนอนบนโซฟา", "tis-620"),
    ],
)
def test_alphabets_are_not_read_as_hanzi(text: str, encoding: str) -> None:
    # Without spaces every two letters are one hanzi of GB 2312.
    for given in (text, text.replace(" ", "").replace(",", "")):
        if len(given) % 2 == 0 or " " in given:
            with pytest.raises(DataError, match="neither UTF-8"):
                read_pairs(given.encode(encoding), name="old.txt")


@pytest.mark.shared
def test_real_chinese_sentences_one_by_one(monkeypatch: pytest.MonkeyPatch, shared_data: object) -> None:
    monkeypatch.setenv("ANTICOLLAPSE_DATA", str(shared_data))
    sentences = load_pairs("stsb-zh:dev").sentences
    refused = []
    for text in sentences:
        try:
            if read_pairs(text.encode("gb18030"), name="x.txt").sentences1[0] != text:
                refused.append(text)
        except DataError:
            refused.append(text)
    assert len(refused) <= 0.002 * len(sentences)
