"""The queue's values as messages."""

from typing import Any

from relabel_service.queue.campaigns import AUDIT, FINDING, Campaign
from relabel_service.queue.progress import Operation
from relabel_service.queue.stats import Count, LabelerCounts, Report
from relabel_service.tasks import task_named
from relabel_service.v1 import campaigns_pb2
from relabel_service.votes import intervals
from relabel_service.wire.values import duration, timestamp

ASK = "it stopped; an admin sees why"
COUNTS = (
    "num_items",
    "num_open",
    "num_leased",
    "num_done",
    "num_skipped",
    "num_escalated",
    "num_results",
    "num_changed",
)


def campaign_message(campaign: Campaign, *, for_admin: bool) -> campaigns_pb2.Campaign:
    """Gold and audit are the admin's alone: knowing their share would tell of single items, and so
    would the tables that findings and results lie in."""
    settings = campaign.settings
    tells = for_admin or not settings.mixes
    message = campaigns_pb2.Campaign(
        name=f"campaigns/{campaign.campaign}",
        task_kind=task_named(campaign.task).kind,
        findings_uri=campaign.findings_uri if tells else "",
        run_id=campaign.run_id if tells else "",
        classes=campaign.classes,
        votes_required=settings.votes_required,
        max_votes=settings.max_votes,
        min_agreement=settings.min_agreement,
        lease_duration=duration(settings.lease_duration_s),
        skip_policy=_known(campaigns_pb2.SkipPolicy, "SKIP_POLICY", settings.skip_policy),
        item_order=_known(campaigns_pb2.ItemOrder, "ITEM_ORDER", settings.item_order),
        blind_share=settings.blind_share,
        state=_known(campaigns_pb2.CampaignState, "CAMPAIGN_STATE", campaign.state),
        create_time=timestamp(campaign.create_time),
        finalize_time=timestamp(campaign.finalize_time) if campaign.finalize_time else None,
        results_uri=(campaign.results_uri or "") if tells else "",
        etag=str(campaign.revision),
        # Audit items are among num_items once they are imported, and never among num_imported.
        num_items=campaign.num_items if tells or campaign.state != "importing" else 0,
        num_imported=campaign.num_imported if tells else 0,
        incarnation=campaign.incarnation or "",
    )
    if for_admin and settings.gold_uri:
        message.gold.uri, message.gold.run_id = settings.gold_uri, settings.gold_run_id
        message.gold.rate = settings.gold_rate
    if for_admin and settings.audit_uri:
        message.audit.uri, message.audit.run_id = settings.audit_uri, settings.audit_run_id
        message.audit.population = settings.audit_population
    return message


def _known(kind: Any, prefix: str, value: str) -> Any:
    """The enum's value; its first, unspecified, for one of a later release."""
    return dict(kind.items()).get(f"{prefix}_{value.upper()}", 0)


def with_operation(
    message: campaigns_pb2.Campaign, operation: Operation | None, *, for_admin: bool
) -> campaigns_pb2.Campaign:
    """The campaign's message, with the progress of its import or of publishing it.

    What stopped it may name gold or audit rows, and addresses.
    """
    if operation is not None:
        message.num_answers, message.num_published = operation.num_total, operation.num_done
        if operation.reason:
            message.failure.reason = operation.reason
            message.failure.message = operation.message if for_admin else ASK
            message.failure.time.CopyFrom(timestamp(operation.update_time))
    return message


def stats_message(report: Report, *, for_admin: bool, caller: str) -> campaigns_pb2.CampaignStats:
    """A labeler sees its own line without gold, and no estimate that gold or audit give.

    Counts of items leave gold out: a labeler who leases one would see that they stay as they are.
    """
    shown = COUNTS if for_admin or not report.has_gold else ()
    message = campaigns_pb2.CampaignStats(**{name: getattr(report, name) for name in shown})
    for name, counts in report.labelers.items():
        if for_admin or name == caller:
            message.labelers.append(_labeler_message(name, counts, for_admin=for_admin))
    if for_admin:
        _add_quality(message, report)
    return message


def _labeler_message(
    name: str, counts: LabelerCounts, *, for_admin: bool
) -> campaigns_pb2.LabelerStats:
    message = campaigns_pb2.LabelerStats(labeler=name, num_results=counts.num_results)
    if for_admin:
        message.gold_right.CopyFrom(_share(counts.gold_right))
        message.agree_others.CopyFrom(_share(counts.agree_others))
    return message


def _add_quality(message: campaigns_pb2.CampaignStats, report: Report) -> None:
    shown, blind = report.agree.get(False, Count()), report.agree.get(True, Count())
    message.agree_shown.CopyFrom(_share(shown))
    message.agree_blind.CopyFrom(_share(blind))
    if shown.total and blind.total:
        pull = intervals.difference(_estimate(shown), _estimate(blind))
        message.anchoring.CopyFrom(campaigns_pb2.Estimate(**vars(pull)))
    audit = report.wrong.get(AUDIT, Count())
    message.audit_errors.CopyFrom(_share(audit))
    if audit.total:
        left = intervals.errors_left(audit.num, audit.total, report.audit_population)
        message.errors_left.CopyFrom(campaigns_pb2.Estimate(**vars(left)))
        num_found = report.wrong.get(FINDING, Count()).num
        if num_found or left.value:
            recall = intervals.recall(num_found, left)
            message.recall.CopyFrom(campaigns_pb2.Estimate(**vars(recall)))


def _estimate(count: Count) -> intervals.Estimate:
    return intervals.share(count.num, count.total)


def _share(count: Count) -> campaigns_pb2.Share:
    interval = _estimate(count)
    return campaigns_pb2.Share(
        num=count.num, total=count.total, low=interval.low, high=interval.high
    )
