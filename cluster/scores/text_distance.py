"""How far a text is from what a model generated: each measure in [0, 1], higher is farther.

Pure functions of two texts. Tokens are words, signs, and single characters of the
scripts that put no spaces between words.
"""

import re
from collections.abc import Callable

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u9fff\uf900-\ufaff]+|\S"
)

# effective_order: short texts have no 4-grams, which would make every one of them score 0.
_BLEU = BLEU(effective_order=True)
_CHRF = CHRF()


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def bleu(label: str, generated: str) -> float:
    """One minus sentence BLEU (Papineni et al. 2002) as sacrebleu has it."""
    return _within(1.0 - _BLEU.sentence_score(generated, [label]).score / 100)


def chrf(label: str, generated: str) -> float:
    """One minus chrF, the F-score of character n-grams (Popović 2015)."""
    return _within(1.0 - _CHRF.sentence_score(generated, [label]).score / 100)


def edit_distance(label: str, generated: str) -> float:
    """Levenshtein distance over tokens, as a share of the longer text."""
    return float(Levenshtein.normalized_distance(tokens(label), tokens(generated)))


def no_common_token(label: str, generated: str) -> float:
    """1 where the two share no token, else 0."""
    return float(not set(tokens(label)) & set(tokens(generated)))


DISTANCES: dict[str, Callable[[str, str], float]] = {
    "bleu_distance": bleu,
    "chrf_distance": chrf,
    "edit_distance": edit_distance,
    "no_common_token": no_common_token,
}


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)
