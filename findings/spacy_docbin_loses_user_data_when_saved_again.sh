#!/bin/sh
# A DocBin that was read from bytes and is written again has lost its documents' user data.
#
# Guess before: bytes hold what the DocBin was made with, so that from_bytes(x).to_bytes() holds what x
# does; Doc.user_data keeps custom extension attributes (doc._.name), which DocBin stores on
# store_user_data=True.
# Seen with spaCy 3.8.18 (Linux x86_64, CPython 3.11): from_bytes reads the user data, but not the flag:
# store_user_data is False after it, to_bytes leaves the data out without a word, and documents that are
# added lose theirs. DocBin(store_user_data=True).from_bytes(x) keeps both.
# Fails when the data are there after the second time.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check spacy==3.8.18
cat > "$folder/save.py" <<'PYTHON'
import spacy
from spacy.tokens import DocBin

nlp = spacy.blank("en")
doc = nlp("one two")
doc.user_data["id"] = 7


def user_data(docs):
    return [dict(one.user_data) for one in docs.get_docs(nlp.vocab)]


first = DocBin(docs=[doc], store_user_data=True).to_bytes()
read = DocBin().from_bytes(first)
print("read once:", user_data(read), "store_user_data:", read.store_user_data)
assert user_data(read) == [{"id": 7}]
again = DocBin().from_bytes(read.to_bytes())
print("written again and read:", user_data(again))
assert user_data(again) == [{}]
told = DocBin(store_user_data=True).from_bytes(first)
assert user_data(DocBin().from_bytes(told.to_bytes())) == [{"id": 7}]
PYTHON
"$folder/venv/bin/python" "$folder/save.py"
