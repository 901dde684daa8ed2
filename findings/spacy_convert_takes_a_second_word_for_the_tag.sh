#!/bin/sh
# spaCy's convert reads tab-separated CoNLL by any space: a token of two words loses the second, which
# becomes the tag of its sentence's line.
#
# Guess before: columns of a file with tabs are what stands between tabs (as CoNLL-U has it), so that
# "New York<TAB>B-LOC" is one token of LOC; or convert refuses a line with other columns than the rest.
# Seen with spaCy 3.8.18 (Linux x86_64, CPython 3.11): lines are split at any space and cut to as many
# columns as the shortest line of their sentence has. The token is "New", its tag is "York", which is read as an
# entity of the class "rk"; convert ends with exit code 0 and says nothing of it. A DocBin keeps such tokens.
# Fails when the entity is another, or convert refuses the file.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check spacy==3.8.18
printf 'New York\tB-LOC\nis\tO\nbig\tO\n' > "$folder/a.conll"
"$folder/venv/bin/python" -m spacy convert "$folder/a.conll" "$folder" --converter ner > "$folder/said"
cat > "$folder/read.py" <<'PYTHON'
import sys

import spacy
from spacy.tokens import DocBin

[doc] = DocBin().from_disk(sys.argv[1]).get_docs(spacy.blank("xx").vocab)
tokens, entities = [token.text for token in doc], [(one.text, one.label_) for one in doc.ents]
print("tokens:", tokens, "entities:", entities)
assert (tokens, entities) == (["New", "is", "big"], [("New", "rk")])
PYTHON
"$folder/venv/bin/python" "$folder/read.py" "$folder/a.spacy"
