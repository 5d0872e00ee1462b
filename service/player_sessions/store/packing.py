"""A statement and its values in the bytes of the protocol, as a part of a BATCH message."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from cassandra.query import BoundStatement, PreparedStatement


def statement_head(statement: PreparedStatement, values: int) -> bytes:
    """Return what precedes the values of a prepared statement in a batch."""
    query_id = statement.query_id
    prepared = 1  # the protocol's kind of a statement that is named by its id
    return struct.pack(f">BH{len(query_id)}sH", prepared, len(query_id), query_id, values)


def packer(
    statement: PreparedStatement, values: int, length: int, form: str
) -> Callable[..., bytes]:
    """Return a function that packs what follows the length of the first value.

    `form` is that of `struct`, in which each further value is its length and its bytes.
    """
    head = statement_head(statement, values) + length.to_bytes(4, "big")
    return partial(struct.Struct(f">{len(head)}s{form}").pack, head)


def packed(bound: BoundStatement) -> bytes:
    """Return a bound statement as a row for `Inserts.batch`, which takes no other form."""
    head = statement_head(bound.prepared_statement, len(bound.values))
    values = (struct.pack(">i", len(value)) + value for value in bound.values)
    return b"".join((head, *values))
