"""The built-in encoder-decoder: recurrent, with attention, and a tokenizer trained on the data.

A bidirectional GRU reads; one decoder GRU asks by dot-product attention (Luong et al. 2015),
a second one writes from what was asked, as in GNMT (Wu et al. 2016). On a few thousand short
pairs and a CPU core it learns in a fraction of a Transformer's time. Byte-level BPE (Sennrich et
al. 2016; Radford et al. 2019) spells any text and gives it back as it was.
B rows, S source tokens, T target tokens, V tokens of the vocabulary, W width.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.generation.generations import (
    IGNORED,
    NUM_BEAMS,
    TARGET,
    Generated,
    distinct,
    padded,
)

PAD, END = "<pad>", "</s>"
PAD_ID, END_ID = 0, 1
VOCABULARY = 1_000  # tokens at most
MIN_FREQUENCY = 10  # of a token that is more than one byte
WIDTH = 128
DROPOUT = 0.2
MAX_TOKENS, SLACK = 512, 1.25  # of a target, as a multiple of the sample's longest
TOKENIZER_FILE, LENGTHS_FILE = "tokenizer.json", "lengths.json"
DEFAULTS = TrainingDefaults(epochs=20, batch_size=32, learning_rate=3e-3, warmup_share=0.05)

State = tuple[torch.Tensor, torch.Tensor]  # of the two decoder GRUs, [1, B, W] each


class AttentionGRU(nn.Module):
    """The network alone: tokens in, logits out."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, WIDTH, padding_idx=PAD_ID)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        self.reader = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.asker = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.writer = nn.GRU(2 * WIDTH, WIDTH, batch_first=True)
        self.joined = nn.Linear(2 * WIDTH, WIDTH)
        self.bias = nn.Parameter(torch.zeros(num_tokens))
        self.dropout = nn.Dropout(DROPOUT)

    def read(self, source: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, State]:
        """source: [B, S] -> memory [B, S, W], and the decoder's first state."""
        embedded = self.dropout(self.embedding(source))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.reader(packed)
        memory, _ = pad_packed_sequence(states, batch_first=True)
        start = torch.cat([last[0], last[1]], dim=1)[None]
        return self.dropout(memory), (start, torch.zeros_like(start))

    def write(
        self, memory: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor, state: State
    ) -> tuple[torch.Tensor, State]:
        """tokens before the predicted ones, [B, T] -> their logits, [B, T, V]. mask: [B, S]."""
        asked, first = self.asker(self.dropout(self.embedding(tokens)), state[0].contiguous())
        scores = self.query(asked) @ memory.transpose(1, 2) / WIDTH**0.5
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=2)
        attended = weights @ memory
        written, second = self.writer(torch.cat([asked, attended], dim=2), state[1].contiguous())
        joined = torch.tanh(self.joined(torch.cat([written, attended], dim=2)))
        logits = self.dropout(joined) @ self.embedding.weight.T + self.bias
        return logits, (first, second)


class BuiltInGenerator(nn.Module):
    """The network and its tokenizer, as a Generator."""

    defaults = DEFAULTS

    def __init__(self, tokenizer: Tokenizer, max_target: int) -> None:
        super().__init__()
        self.network = AttentionGRU(tokenizer.get_vocab_size())
        self._tokenizer, self._max_target = tokenizer, max_target

    def encode(self, contents: Sequence[str]) -> list[list[int]]:
        return [
            encoding.ids[:MAX_TOKENS] for encoding in self._tokenizer.encode_batch(list(contents))
        ]

    def encode_labels(self, labels: Sequence[str]) -> list[list[int]]:
        return self.encode(labels)

    def size(self, encoded: Sequence[int]) -> int:
        return len(encoded)

    def collate(self, encoded: Sequence[Sequence[int]]) -> Tensors:
        lengths = torch.tensor([len(row) for row in encoded])
        return {"source": padded(encoded, PAD_ID), "lengths": lengths}

    def forward(self, batch: Tensors) -> torch.Tensor:
        target = batch[TARGET]
        tokens = target.clamp(min=PAD_ID)
        before = torch.cat([torch.full_like(tokens[:, :1], END_ID), tokens[:, :-1]], dim=1)
        memory, state = self.network.read(batch["source"], batch["lengths"].cpu())
        logits, _ = self.network.write(memory, batch["source"] != PAD_ID, before, state)
        log_p = torch.log_softmax(logits.float(), dim=-1)
        return log_p.gather(2, tokens[..., None]).squeeze(2) * (target != IGNORED)

    def generate(self, batch: Tensors) -> list[Generated]:
        tokens, likelihoods = self._search(batch)
        texts = self._tokenizer.decode_batch(tokens.flatten(0, 1).tolist())
        return [
            distinct(texts[at * NUM_BEAMS : (at + 1) * NUM_BEAMS], row)
            for at, row in enumerate(likelihoods.tolist())
        ]

    def _search(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Beam search: tokens [B, beams, T], geometric mean of their probabilities [B, beams]."""
        memory, state = self.network.read(batch["source"], batch["lengths"].cpu())
        memory = memory.repeat_interleave(NUM_BEAMS, 0)
        mask = (batch["source"] != PAD_ID).repeat_interleave(NUM_BEAMS, 0)
        state = _take(state, torch.arange(len(mask), device=mask.device) // NUM_BEAMS)
        num_rows = len(mask) // NUM_BEAMS
        tokens = torch.full((len(mask), 1), END_ID, device=mask.device)
        # All beams begin alike: only the first may be continued.
        total = torch.full((num_rows, NUM_BEAMS), -torch.inf, device=mask.device)
        total[:, 0] = 0.0
        num_tokens = torch.zeros_like(total)
        ended = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
        first_beam = torch.arange(num_rows, device=mask.device)[:, None] * NUM_BEAMS
        for _ in range(self._max_target):
            logits, state = self.network.write(memory, mask, tokens[:, -1:], state)
            steps = torch.log_softmax(logits[:, 0].float(), dim=-1)
            steps[ended] = -torch.inf
            steps[ended, PAD_ID] = 0.0  # an ended beam stays as it is
            scores = (total.flatten()[:, None] + steps).view(num_rows, -1)
            total, best = scores.topk(NUM_BEAMS, dim=1)
            beams = (first_beam + best // steps.shape[1]).flatten()
            chosen = (best % steps.shape[1]).flatten()
            num_tokens = num_tokens.flatten()[beams].view_as(total) + (~ended[beams]).view_as(total)
            ended = ended[beams] | (chosen == END_ID)
            tokens = torch.cat([tokens[beams], chosen[:, None]], dim=1)
            state = _take(state, beams)
            if bool(ended.all()):
                break
        likelihoods = (total / num_tokens.clamp(min=1)).exp()
        return tokens.view(num_rows, NUM_BEAMS, -1), likelihoods


def prepare(folder: Path, contents: Sequence[str], labels: Sequence[str]) -> None:
    """Train the tokenizer on a sample of both sides, and keep how long targets may be."""
    tokenizer = train_tokenizer([*contents, *labels])
    tokenizer.save(str(folder / TOKENIZER_FILE))
    longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch(list(labels)))
    lengths = {"target": min(MAX_TOKENS, int(SLACK * longest) + 1)}
    (folder / LENGTHS_FILE).write_text(json.dumps(lengths))


def load(folder: Path) -> BuiltInGenerator:
    """An untrained generator."""
    lengths = json.loads((folder / LENGTHS_FILE).read_text())
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    return BuiltInGenerator(tokenizer, lengths["target"])


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A tokenizer that ends what it encodes with END, and decodes it to the very same text."""
    tokenizer = Tokenizer(models.BPE())
    # A space before the first word too, so that it is the same token there as elsewhere.
    tokenizer.normalizer = normalizers.Prepend(" ")
    words = pre_tokenizers.Split(Regex(r" ?[\w']+| ?[^\w\s]+|\s+"), "isolated")
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytewise])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            min_frequency=MIN_FREQUENCY,
            special_tokens=[PAD, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, END_ID)]
    )
    return tokenizer


def _take(state: State, rows: torch.Tensor) -> State:
    return state[0][:, rows], state[1][:, rows]
