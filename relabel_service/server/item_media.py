"""The picture or sound of an item, as a browser can show it.

Opens an address that a row holds only under the prefixes that whoever runs the service has stated.
"""

from relabel_service.errors import NotFound
from relabel_service.media import fetch, images, prefixes
from relabel_service.v1 import items_pb2

SOUNDS = ("audio/wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4", "audio/webm")
OTHER = "application/octet-stream"


class Media:
    """Safe to use from several threads."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        """allowed: prefixes of addresses that may be opened; see media.prefixes."""
        self._allowed = prefixes.checked(allowed)

    def of(self, encoded: bytes) -> tuple[bytes, str]:
        """Bytes and media type. encoded: an Item.

        A picture is upright, in 8 bits a pixel: what models see of it. Raises NotFound for an item
        that has no picture or sound, InvalidInput for one that cannot be read or may not be opened.
        """
        item = items_pb2.Item.FromString(encoded)
        kind = item.content.WhichOneof("payload")
        if kind not in ("image", "audio"):
            raise NotFound(f"{item.name} shows no picture or sound; its lease has all of it")
        content = item.content.image if kind == "image" else item.content.audio
        data = content.data if content.WhichOneof("location") == "data" else self._open(content.uri)
        if kind == "image":
            return images.for_browser(data)
        return data, content.media_type if content.media_type in SOUNDS else OTHER

    def _open(self, uri: str) -> bytes:
        with prefixes.only_under(self._allowed):
            return fetch.load(uri)
