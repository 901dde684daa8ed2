"""Pictures of any size over the wire: the client puts them together again."""

import random
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from relabel_service import Client, accept
from relabel_service.errors import NotFound
from relabel_service.media.fetch import data_uri
from relabel_service.tables import delta, schemas
from relabel_service.v1 import leases_pb2
from tests.support.campaigns import finding
from tests.support.servers import ServerProcess

SIZES = [1000, 6 * 2**20, 2000, 3 * 2**20]  # gRPC's own limit is 4 MiB a message


def test_pictures_larger_than_a_message_arrive_whole(server: ServerProcess, tmp_path: Path) -> None:
    pictures = [random.Random(index).randbytes(size) for index, size in enumerate(SIZES)]
    rows = [
        finding(rank, content=data_uri(picture, "image/png"), task="image_classification")
        for rank, picture in enumerate(pictures)
    ]
    uri = str(tmp_path / "findings")
    delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    with Client(server.address, labeler="ann") as ann:
        campaign = ann.create_campaign(f"c-{uuid.uuid4().hex}", findings_uri=uri, run_id="run").name
        left_out = ann.lease(campaign, max_items=9, whole_items=False)
        assert [bool(lease.item.num_bytes) for lease in left_out] == [False, True, False, True]
        assert ann.read_item(left_out[1].item.name).content.image.data == pictures[1]
        ann.release(campaign, [lease.token for lease in left_out])
        with pytest.raises(NotFound, match="no lease"):
            ann.read_item(left_out[1].item.name)
        leases = ann.lease(campaign, max_items=9)
        assert [lease.item.content.image.data for lease in leases] == pictures
        outcomes = ann.submit(campaign, [accept(lease) for lease in leases])
        assert {outcome.status for outcome in outcomes} == {leases_pb2.RESULT_STATUS_ACCEPTED}
