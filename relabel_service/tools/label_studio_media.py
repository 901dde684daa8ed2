"""Pictures and sounds for Label Studio, as addresses that a browser opens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relabel_service.media import audio, fetch, images
from relabel_service.v1 import items_pb2


@dataclass(frozen=True)
class Media:
    """load: the bytes of a picture or sound; raises InvalidInput where they cannot be had or may
    not be. stays: whether Label Studio's browsers open an address as it is."""

    load: Callable[[items_pb2.MediaContent], bytes]
    stays: Callable[[str], bool]

    def picture(self, content: items_pb2.MediaContent, *, measured: bool) -> dict[str, Any]:
        """image: its address, or a data: URI of what browsers show upright. width and height in
        pixels of the upright picture: of one that is loaded, and of any where it is measured.

        Raises InvalidInput for one that cannot be read.
        """
        stays = self.stays(content.uri)
        if stays and not measured:
            return {"image": content.uri}
        data = self.load(content)
        width, height = images.size(data)
        shown = content.uri if stays else fetch.data_uri(*images.for_browser(data))
        return {"image": shown, "width": width, "height": height}

    def sound(self, content: items_pb2.MediaContent) -> dict[str, Any]:
        """audio: its address, or a data: URI. Raises InvalidInput for one that cannot be read."""
        if self.stays(content.uri):
            return {"audio": content.uri}
        data = self.load(content)
        return {"audio": fetch.data_uri(data, content.media_type or audio.media_type(data))}
