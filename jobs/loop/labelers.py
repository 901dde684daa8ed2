"""Who labels a campaign of the loop: simulated labelers that know gold, or people."""

import time
from collections.abc import Callable
from enum import StrEnum

from jobs.loop.config import LoopConfig
from jobs.loop.gold import agreed_gold_labels
from jobs.loop.rounds import LabelCampaign
from relabel_service.client import Client
from relabel_service.simulated_labeler import label_all

POLL_S = 5.0


class Labelers(StrEnum):
    """Who labels."""

    GOLD = "gold"
    PEOPLE = "people"


def simulated(config: LoopConfig, address: str, *, error_rate: float, seed: int) -> LabelCampaign:
    """As many labelers as an item needs votes, each wrong at error_rate; gold_column is set."""
    assert config.gold_column is not None
    gold = agreed_gold_labels(config.source, config.gold_column)

    def label(client: Client, campaign: str, on_answers: Callable[[int], None]) -> None:
        for number in range(config.votes_required):
            with Client(address, labeler=f"gold-{number + 1}") as labeler:
                label_all(
                    labeler,
                    campaign,
                    gold,
                    error_rate=error_rate,
                    seed=seed + number,
                    on_submitted=on_answers,
                )

    return label


def wait_for_people(client: Client, campaign: str, on_answers: Callable[[int], None]) -> None:
    """Return once labeling frontends have answered every item."""
    num_answers = 0
    while True:
        stats = client.stats(campaign)
        on_answers(stats.num_results - num_answers)
        num_answers = stats.num_results
        if not stats.num_open and not stats.num_leased:
            return
        time.sleep(POLL_S)
