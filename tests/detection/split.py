"""Which part of a development set a payload is in. Written before the first rule, and never changed since.

`work` is what the rules are written with; `measured` is only ever counted: nobody reads it, nothing prints it.
"""

import hashlib


def part(payload: str) -> str:
    """By the payload's hash, so that adding payloads moves none of them."""
    first = hashlib.sha256(payload.encode("utf-8", "surrogatepass")).digest()[0]
    return "work" if first < 128 else "measured"
