"""Which pictures and sounds the bridge opens, and which it leaves to the browser."""

from relabel_service.media import fetch, prefixes
from relabel_service.tools.label_studio_media import Media
from relabel_service.v1 import items_pb2

WEB = ("http://", "https://")


def media_under(allowed: tuple[str, ...] = ()) -> Media:
    """Opens addresses under the stated prefixes alone, as terminals do (media/prefixes.py); what
    is of the web stays where it is."""
    opened = prefixes.checked(allowed)

    def load(content: items_pb2.MediaContent) -> bytes:
        if content.WhichOneof("location") == "data":
            return content.data
        with prefixes.only_under(opened):
            return fetch.load(content.uri)

    return Media(load, lambda uri: uri.startswith(WEB))
