"""One finding of each task, as people see them: for tests of what a frontend shows."""

import base64
import io
import json
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageDraw

from relabel_service.tasks.boxes import Box, write_boxes

BOX = (100.0, 100.0, 300.0, 250.0)


def picture() -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (640, 480), (200, 210, 220))
    draw = ImageDraw.Draw(image)
    draw.rectangle(BOX, fill=(180, 60, 60))
    draw.ellipse((400, 200, 560, 400), fill=(60, 90, 180))
    image.save(file, "PNG")
    return file.getvalue()


def sound(format_: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(8000) / 8).astype("float32"), 8000, format=format_)
    return file.getvalue()


def inline(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def page_items() -> dict[str, dict[str, Any]]:
    """Fields of a finding (tests.support.campaigns.finding) by task."""
    tokens = ["Angela", "Merkel", "met", "John", "Smith", "of", "Acme", "in", "Berlin"]
    shifted = Box("car", 90, 90, 290, 240)
    return {
        "text_classification": {"content": "Win a prize now. <b>Free</b> & easy!"},
        "image_classification": {"content": inline(picture(), "image/png")},
        "audio_classification": {"content": inline(sound(), "audio/wav")},
        "token_classification": {
            "content": json.dumps(tokens),
            "unit": "PER",
            "classes": ["PER", "LOC"],
            "human_label": '[[0,2,"PER"],[8,9,"LOC"]]',
            "suggestions": [{"label": '[[0,2,"PER"],[3,5,"PER"],[8,9,"LOC"]]', "probability": 0.8}],
        },
        "object_detection": {
            "content": inline(picture(), "image/png"),
            "unit": "car",
            "classes": ["car", "bus"],
            "human_label": write_boxes([shifted, Box("bus", 400, 200, 560, 400)]),
            "suggestions": [{"label": write_boxes([Box("car", *BOX)]), "probability": 0.8}],
        },
        "sequence_generation": {
            "content": "Wie geht es dir?",
            "classes": [],
            "human_label": "How go it you?",
            "suggestions": [{"label": "How are you?", "probability": 0.6}],
        },
        "click_through_rate": {
            "content": json.dumps({"price": 3, "site": "a"}),
            "classes": [],
            "human_label": "1",
            "suggestions": [{"label": "0", "probability": 0.9}],
        },
    }
