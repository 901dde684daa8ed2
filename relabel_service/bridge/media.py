"""Pictures and sounds for Label Studio, as addresses that a browser opens."""

from typing import Any

from relabel_service.media import fetch, images, prefixes
from relabel_service.v1 import items_pb2

WEB = ("http://", "https://")


class Media:
    """Opens addresses under the stated prefixes alone, as terminals do (media/prefixes.py)."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._allowed = prefixes.checked(allowed)

    def picture(self, content: items_pb2.MediaContent) -> dict[str, Any]:
        """image: a data: URI of what browsers show upright; width and height in pixels.

        A picture of the web stays where it is, and its size is not known. Raises InvalidInput for
        one that cannot be read or may not be opened.
        """
        if content.uri.startswith(WEB):
            return {"image": content.uri}
        data, media_type = images.for_browser(self._bytes(content))
        width, height = images.size(data)
        return {"image": fetch.data_uri(data, media_type), "width": width, "height": height}

    def sound(self, content: items_pb2.MediaContent) -> dict[str, Any]:
        """audio: a data: URI, or an address of the web."""
        if content.uri.startswith(WEB):
            return {"audio": content.uri}
        return {"audio": fetch.data_uri(self._bytes(content), content.media_type or "audio/wav")}

    def _bytes(self, content: items_pb2.MediaContent) -> bytes:
        if content.WhichOneof("location") == "data":
            return content.data
        with prefixes.only_under(self._allowed):
            return fetch.load(content.uri)
