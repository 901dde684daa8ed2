"""Which script a text is in, as far as it matters: where it puts no spaces between its words."""

import re
from collections import Counter
from collections.abc import Iterable

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
# Thai, Lao, Tibetan, Myanmar, Khmer.
OTHERS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
UNSPACED = HAN + KANA + OTHERS  # a character class, without its brackets

_KINDS = {name: re.compile(f"[{signs}]") for name, signs in
          (("han", HAN), ("kana", KANA), ("others", OTHERS))}  # fmt: skip
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """What stands between spaces, and each character of a script that sets none."""
    return _WORD.findall(text)


def count_signs(texts: Iterable[str]) -> Counter[str]:
    """How many `han`, `kana`, `others` (of OTHERS) and `letters` (of any script) the texts hold."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts["letters"] += len(_LETTER.findall(text))
        for name, pattern in _KINDS.items():
            counts[name] += len(pattern.findall(text))
    return counts
