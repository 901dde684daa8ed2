"""What people saw of a row, in 128 bits: a decision holds for this content, and for no other."""

import hashlib

NUM_BYTES = 16


def content_fingerprint(content: str) -> str:
    """Hex of BLAKE2b of a content's text form: of a medium in the table its bytes, of one at an
    address the address."""
    data = content.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=NUM_BYTES).hexdigest()
