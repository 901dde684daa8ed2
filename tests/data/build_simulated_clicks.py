"""Rebuild ctr/simulated_clicks, which needs no source. From the repository's root:

    python -m tests.data.build_simulated_clicks

Impressions with a known probability of a click. Gold is the click drawn from it;
labels hold false clicks from one kind of traffic and lack clicks of one advertiser.
"""

import math
from typing import Any

import pyarrow as pa

from tests.data import slices

TARGET = slices.FOLDER / "ctr" / "simulated_clicks"
SHARES = {"train": 70, "dev": 10, "test": 20}
NUM_ROWS = 6000
BASE = -3.0  # logit of a click where no effect applies
EFFECTS: dict[str, dict[str, float]] = {
    "age": {"18-24": 0.5, "25-34": 0.2, "35-49": 0.0, "50-64": -0.3, "65+": -0.6},
    "device": {"phone": 0.3, "tablet": 0.1, "desktop": 0.0},
    "category": {"travel": 0.0, "games": 0.3, "fashion": 0.2, "finance": -0.5, "food": 0.6},
    "advertiser": {f"advertiser-{number}": 0.15 * (number - 3) for number in range(8)},
}
TASTES = {  # age and category together
    ("18-24", "games"): 1.4,
    ("25-34", "fashion"): 1.1,
    ("35-49", "travel"): 1.2,
    ("50-64", "food"): 0.9,
    ("65+", "finance"): 1.8,
}
FALSE_CLICKS, LOST_CLICKS = 30, 60  # percent of the rows they can befall
FLOODED_HOURS = range(8)  # of tablets, by night
LOSING = "advertiser-6"
LICENCE = "Drawn by this project's own script: no third party's data, the project's own terms.\n"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        *(pa.field(name, pa.string()) for name in EFFECTS),
        pa.field("position", pa.int64()),
        pa.field("hour", pa.int64()),
        pa.field("visits", pa.float64()),
        pa.field("click_probability", pa.float64()),
        pa.field("label", pa.int64()),
        pa.field("gold", pa.int64()),
    ]
)


def main() -> None:
    rows = [_row(f"impression-{number:04}") for number in range(NUM_ROWS)]
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_text(LICENCE)


def _row(item_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item_id}
    for name, effects in EFFECTS.items():
        row[name] = list(effects)[slices.draw(f"{item_id} {name}", len(effects))]
    row["position"] = 1 + slices.draw(f"{item_id} position", 5)
    row["hour"] = slices.draw(f"{item_id} hour", 24)
    row["visits"] = round(-2 * math.log(1 - _share(f"{item_id} visits")), 2)
    row["click_probability"] = round(_probability(row), 4)
    row["gold"] = int(_share(f"{item_id} click") < row["click_probability"])
    row["label"] = _label(row)
    return row


def _probability(row: dict[str, Any]) -> float:
    logit = BASE + sum(effects[row[name]] for name, effects in EFFECTS.items())
    logit += TASTES.get((row["age"], row["category"]), 0.0)
    logit += 0.15 * min(row["visits"], 8.0) - 0.25 * (row["position"] - 1)
    return 1 / (1 + math.exp(-logit))


def _label(row: dict[str, Any]) -> int:
    fate = slices.draw(f"{row['id']} fate", 100)
    if row["device"] == "tablet" and row["hour"] in FLOODED_HOURS and fate < FALSE_CLICKS:
        return 1
    if row["advertiser"] == LOSING and fate >= 100 - LOST_CLICKS:
        return 0
    return int(row["gold"])


def _share(key: str) -> float:
    """A number in [0, 1)."""
    return slices.draw(key, 2**32) / 2**32


if __name__ == "__main__":
    main()
