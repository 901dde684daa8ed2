"""How far a text is from what a model generated: each measure in [0, 1], higher is farther.

Pure functions of two texts. Tokens are words, signs, and single characters of the
scripts that put no spaces between words; BLEU has its own (tokenizers.py).
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, partial

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from relabel_service.tasks.scripts import UNSPACED

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|\S")
_CHRF = CHRF()

Distance = Callable[[str, str], float]  # of a label to what was generated


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def bleu(label: str, generated: str, *, tokenize: str) -> float:
    """One minus sentence BLEU (Papineni et al. 2002) as sacrebleu has it."""
    return _within(1.0 - _bleu(tokenize).sentence_score(generated, [label]).score / 100)


def corpus_bleu(generated: Sequence[str], labels: Sequence[str], *, tokenize: str) -> float:
    """BLEU of all texts together, in [0, 1]; higher is better."""
    score = float(_bleu(tokenize).corpus_score(list(generated), [list(labels)]).score)
    return min(score / 100, 1.0)


def chrf(label: str, generated: str) -> float:
    """One minus chrF, the F-score of character n-grams (Popović 2015)."""
    return _within(1.0 - _CHRF.sentence_score(generated, [label]).score / 100)


def edit_distance(label: str, generated: str) -> float:
    """Levenshtein distance over tokens, as a share of the longer text."""
    return float(Levenshtein.normalized_distance(tokens(label), tokens(generated)))


def no_common_token(label: str, generated: str) -> float:
    """1 where the two share no token, else 0."""
    return float(not set(tokens(label)) & set(tokens(generated)))


def distances(tokenize: str) -> dict[str, Distance]:
    """Every distance by name. tokenize: BLEU's tokenizer."""
    return {
        "bleu_distance": partial(bleu, tokenize=tokenize),
        "chrf_distance": chrf,
        "edit_distance": edit_distance,
        "no_common_token": no_common_token,
    }


DISTANCES = tuple(distances(""))  # their names


@cache
def _bleu(tokenize: str) -> BLEU:
    # effective_order: texts of two words have no 3-grams, which would make BLEU 0 of all of them.
    return BLEU(tokenize=tokenize, effective_order=True)


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)
