"""How texts are cut into tokens before n-grams are counted: sacrebleu's tokenizers by name.

A tokenizer that cuts at spaces makes one word of a Chinese sentence, and BLEU 0 of all that is
not right to the last sign.
"""

import importlib.util
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

from relabel_service.errors import InvalidInput
from relabel_service.tasks.scripts import count_signs

SPACED, CHINESE, CHARACTERS, JAPANESE = "13a", "zh", "char", "ja-mecab"
NAMES = tuple(sorted(BLEU.TOKENIZERS))

# Shares of the letters. `zh` cuts out Chinese signs alone and the rest as 13a does, so that some
# are enough; `char` would cut the words of other scripts, too.
FEW, HALF = 0.1, 0.5


def choose(asked: str | None, texts: Sequence[str]) -> str:
    """The name asked for, or the one that suits the script of most of the texts.

    Raises InvalidInput when there is none of that name, or what it needs is not installed.
    """
    if asked is None:
        return by_script(texts)
    if asked not in NAMES:
        raise InvalidInput.of("tokenize", f"{asked!r} is not one of {', '.join(NAMES)}")
    try:
        BLEU(tokenize=asked)
    except (ImportError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise InvalidInput.of(
            "tokenize", f"{asked!r} cannot be used here: {words} Or leave it out"
        ) from None
    return asked


def by_script(texts: Sequence[str]) -> str:
    """For Chinese its own, for Japanese and other scripts without spaces characters, else words."""
    signs = count_signs(texts)
    unspaced = signs["han"] + signs["kana"]
    if signs["others"] >= HALF * max(signs["letters"], 1):
        return CHARACTERS
    if signs["kana"] >= FEW * max(unspaced, 1) and unspaced >= HALF * signs["letters"]:
        return JAPANESE if importlib.util.find_spec("MeCab") else CHARACTERS
    return CHINESE if unspaced >= FEW * max(signs["letters"], 1) else SPACED
