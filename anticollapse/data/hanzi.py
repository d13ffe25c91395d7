"""Whether bytes are Chinese in GB18030 or East Asian text in another encoding.

GB18030 decodes almost anything, and EUC-KR and EUC-JP use the very bytes of its hanzi: a Korean file becomes a Chinese
one without a fault, only without sense. What tells them apart is which characters are frequent. Read in the right
encoding, most letters are frequent ones; read in a wrong one, they fall all over the character set.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

# The most frequent characters of modern Chinese, then the traditional forms of those among them that have one.
_HANZI = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同"
    "现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最"
    "重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各"
    "入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基"
    "眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运男孩吃吗吧猫"
    "狗车鸟飞机弹球穿坐站跑跳睡喝买卖红黑蓝绿黄树花草河街桌椅骑唱舞笑"
    "這個們來為國說時會對過發後著裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話給門兒東聲員論處義幾認條氣題爾變總電數報結"
    "務場計資許統區隊決馬書則聽達強難權設記類據邊張該規萬覺術領傳師觀讓識帶導爭運習語濟"
)
_HANGUL = frozenset(
    "이다는에의가을를고하지은기사나자리로대어도아시정인서스일한그부제해전수있보주라국만성여조원구장트상공미과들동신비오치소마거안계우경것진선세유화위연요"
    "적관말무러반당생드실최년분중회까방면개없했습니내양김건터던모습용물레할단질않려음같간파며남교후집강와게때문저두더또잘못람녀늘왔갔났었았겠네군"
)
_KANA = frozenset(chr(code) for code in [*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)])


class _Encoding(NamedTuple):
    """An encoding, and which of its letters text is made of.

    Attributes:
        name: For a message.
        codec: Python's name.
        frequent: Frequent letters.
        table: Codec in which the common half of the letters is one block.
        block: Lead bytes of that block.
    """

    name: str
    codec: str
    frequent: frozenset[str]
    table: str
    block: range


_CHINESE = _Encoding("Chinese (GB18030)", "gb18030", _HANZI, "gb2312", range(0xB0, 0xD8))
_OTHERS = (
    _Encoding("Korean (EUC-KR)", "cp949", _HANGUL, "euc_kr", range(0xB0, 0xC9)),
    _Encoding("Japanese (EUC-JP)", "euc_jp", _HANZI | _KANA, "euc_jp", range(0xB0, 0xD0)),
    _Encoding("Japanese (Shift JIS)", "cp932", _HANZI | _KANA, "euc_jp", range(0xB0, 0xD0)),
    _Encoding("traditional Chinese (Big5)", "big5", _HANZI, "big5", range(0xA4, 0xC7)),
)
_COMMON, _RARE = 0.3, 0.1  # weight of a letter of the common half, and of another hanzi, where a frequent one has 1
_LIKELY = 0.6  # mean weight from which on the message names an encoding
_ENOUGH = 20  # letters from which on the share of frequent ones says something
_FREQUENT = 0.25  # of the letters at least: Chinese text has 0.6 and more, hanzi taken at random 0.1


def plausible_chinese(data: bytes, *, sample: int) -> tuple[str | None, str]:
    """Decode GB18030 if that makes sense.

    Args:
        data: The file.
        sample: How many characters (or bytes) to judge by.

    Returns:
        The text, or None if it is not GB18030; then the encoding that it is instead, or an empty string.
    """
    scores = [_plausibility(data, other, sample) for other in _OTHERS]
    score, best = max(zip(scores, (other.name for other in _OTHERS), strict=True))
    likely = best if score >= _LIKELY else ""
    try:
        text = data.decode(_CHINESE.codec)
    except UnicodeDecodeError:
        return None, likely
    foreign = [char for char in text[:sample] if char > "\x7f"]
    in_gb2312 = len("".join(foreign).encode("gb2312", errors="ignore")) / 2
    # Latin-1 that happens to decode gives rare characters with an ASCII second byte, none of them in GB 2312;
    # traditional Chinese shares about half of its characters with it.
    if in_gb2312 < 0.4 * len(foreign):
        return None, likely
    letters = [char for char in foreign if char.isalpha()]
    if letters and score >= _weigh(letters, _CHINESE):
        return None, best
    frequent = sum(char in _HANZI for char in letters)
    return (None, "") if len(letters) >= _ENOUGH and frequent < _FREQUENT * len(letters) else (text, "")


def _plausibility(data: bytes, encoding: _Encoding, sample: int) -> float:
    decoder = codecs.getincrementaldecoder(encoding.codec)()  # the sample may end within a character
    try:
        text = decoder.decode(data[:sample], final=len(data) <= sample)
    except UnicodeDecodeError:
        return -1.0
    return _weigh([char for char in text if char > "\x7f" and char.isalpha()], encoding)


def _weigh(letters: list[str], encoding: _Encoding) -> float:
    """Mean weight of the letters, 0 to 1; -1 without letters."""
    total = 0.0
    for char in letters:
        if char in encoding.frequent:
            total += 1
        elif "\u3400" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3":
            encoded = char.encode(encoding.table, errors="ignore")
            total += _COMMON if encoded and encoded[0] in encoding.block else _RARE if char < "\uac00" else 0
    return total / len(letters) if letters else -1.0
