#!/bin/sh
# Pillow turns a TIFF by its orientation when its pixels are loaded; pictures of other formats never.
#
# Guess before: as for JPEG, the size of an opened TIFF is that of the stored pixels, and nothing is
# turned until ImageOps.exif_transpose is asked.
# Seen with Pillow 13.0.0 (Linux x86_64, CPython 3.11), a picture of 60x40 with orientation 6: the JPEG
# opens as 60x40 and stays so; the TIFF opens as 40x60, the size it has when upright, says orientation
# 6 until it is loaded, and no orientation afterwards. Code that reads orientation before the pixels
# and turns them itself turns a TIFF twice.
# Fails when sizes or orientations differ.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Pillow==13.0.0
cat > "$folder/turn.py" <<'PYTHON'
import io

from PIL import Image

ORIENTATION = 274
seen = {}
for kind in ("JPEG", "TIFF"):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = io.BytesIO()
    Image.new("RGB", (60, 40)).save(data, kind, exif=exif)
    picture = Image.open(data)
    opened = picture.size, picture.getexif().get(ORIENTATION)
    picture.load()
    seen[kind] = (*opened, picture.size, picture.getexif().get(ORIENTATION))
    print(kind, "opened: size {}, orientation {}; loaded: size {}, orientation {}".format(*seen[kind]))
assert seen == {"JPEG": ((60, 40), 6, (60, 40), 6), "TIFF": ((40, 60), 6, (40, 60), None)}
PYTHON
"$folder/venv/bin/python" "$folder/turn.py"
