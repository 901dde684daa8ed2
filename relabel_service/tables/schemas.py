"""Arrow schemas of the tables that pass between the parts: findings, results, lineage."""

import pyarrow as pa

SUGGESTION = pa.struct([("label", pa.string()), ("probability", pa.float64())])

# One row of a data set, or one unit of it (an entity class, a box class), whose
# label is suspicious. suspicion in [0, 1], higher is worse; rank 0 is the worst.
# preferred_label: what whoever started the run thinks right for the unit; null without a view.
FINDINGS = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("content", pa.string()),
        pa.field("human_label", pa.string()),
        pa.field("suggestions", pa.list_(SUGGESTION)),
        pa.field("suspicion", pa.float64()),
        pa.field("signals", pa.map_(pa.string(), pa.float64())),
        pa.field("reason", pa.string()),
        pa.field("task", pa.string()),
        pa.field("classes", pa.list_(pa.string())),
        pa.field("preferred_label", pa.string()),
        # ids of the other rows of the same content and label, which are not asked about; null
        # in tables of earlier releases
        pa.field("copies", pa.list_(pa.string())),
    ]
)

# A row that breaks the task's schema; `row` is its text form, for the person who repairs it.
QUARANTINE = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("id", pa.string()),
        pa.field("row", pa.string()),
        pa.field("reason", pa.string()),
    ]
)

# One result of one labeler. label is null for the decisions skip and escalate.
RESULTS = pa.schema(
    [
        pa.field("campaign", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("findings_uri", pa.string()),
        pa.field("task", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("human_label", pa.string()),
        pa.field("suspicion", pa.float64()),
        pa.field("labeler", pa.string()),
        pa.field("role", pa.string()),  # labeler or adjudicator
        pa.field("kind", pa.string()),  # finding, audit (a random row) or gold (its label is known)
        pa.field("blind", pa.bool_()),  # labelled without seeing the model's view
        pa.field("gold_label", pa.string()),
        pa.field("decision", pa.string()),
        pa.field("label", pa.string()),
        pa.field("comment", pa.string()),
        pa.field("submit_time", pa.timestamp("us", tz="UTC")),
        # content_fingerprint of what people saw; null in tables of earlier releases
        pa.field("fingerprint", pa.string()),
        pa.field("incarnation", pa.string()),  # of the campaign; null as above
        pa.field("seconds_spent", pa.float64()),  # by the labeler; null where that is not known
    ]
)

# What was decided about one row: why version N+1 differs from version N. People decide by votes;
# a policy decides by rule, without votes and labelers. action: set, drop or weight.
LINEAGE = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("previous_label", pa.string()),
        pa.field("new_label", pa.string()),
        pa.field("changed", pa.bool_()),
        pa.field("votes", pa.map_(pa.string(), pa.int64())),
        pa.field("labelers", pa.list_(pa.string())),
        pa.field("decided_time", pa.timestamp("us", tz="UTC")),
        pa.field("action", pa.string()),
        pa.field("weight", pa.float64()),
        pa.field("policy", pa.string()),
        pa.field("merge_time", pa.timestamp("us", tz="UTC")),
        pa.field("campaign", pa.string()),
        pa.field("findings_uri", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("dataset_version", pa.int64()),
        # content_fingerprint of what people saw; null in tables of earlier releases
        pa.field("fingerprint", pa.string()),
        pa.field("num_rows", pa.int64()),  # that it was written to; null as above
        pa.field("copies", pa.list_(pa.string())),  # rows of other ids among them; null as above
        pa.field("incarnation", pa.string()),  # of the campaign; null as above
    ]
)
