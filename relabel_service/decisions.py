"""What a labeler can decide about a leased item, as results to submit."""

from relabel_service.v1 import labels_pb2, leases_pb2


def confirm(lease: leases_pb2.Lease) -> leases_pb2.Result:
    """The human label is right."""
    return leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_CONFIRM)


def accept(lease: leases_pb2.Lease) -> leases_pb2.Result:
    """The first suggestion is right."""
    return leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_ACCEPT)


def relabel(lease: leases_pb2.Lease, label: labels_pb2.Label) -> leases_pb2.Result:
    """`label` is right."""
    return leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_RELABEL, label=label)


def skip(lease: leases_pb2.Lease, comment: str = "") -> leases_pb2.Result:
    """The labeler cannot say."""
    return leases_pb2.Result(token=lease.token, decision=leases_pb2.DECISION_SKIP, comment=comment)


def escalate(lease: leases_pb2.Lease, comment: str = "") -> leases_pb2.Result:
    """The item needs an adjudicator."""
    return leases_pb2.Result(
        token=lease.token, decision=leases_pb2.DECISION_ESCALATE, comment=comment
    )
