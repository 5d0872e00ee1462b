"""The segments of protocol v5, whose headers are remembered.

The protocol wraps all frames in segments, whose header is a length and a checksum of 24 bits. The
driver computes that checksum bit by bit, for 3 µs a header. The same lengths come again and again,
so `Segments` makes and reads each header once.

These names of the driver are not documented; `tests/guards/test_guard_cassandra_frames.py` checks
them: `SegmentCodec` with `encode_header`, `decode_header` and `header_length_with_crc`.
"""

from __future__ import annotations

import functools
import io
from typing import Any

from cassandra.segment import SegmentCodec

_REMEMBERED = 4096  # headers; 1 MB at most
_driver = SegmentCodec()


class Segments(SegmentCodec):  # type: ignore[misc]
    """The driver's segments without compression."""

    def encode_header(self, buffer: Any, *header: Any) -> None:
        """Write a header for the payload's length and whether the segment is self-contained."""
        buffer.write(_encoded(*header))

    def decode_header(self, buffer: Any) -> Any:
        """Read a header; raises the driver's CrcException."""
        return _decoded(buffer.read(self.header_length_with_crc))


@functools.lru_cache(_REMEMBERED)
def _encoded(*header: Any) -> bytes:
    buffer = io.BytesIO()
    _driver.encode_header(buffer, *header)
    return buffer.getvalue()


@functools.lru_cache(_REMEMBERED)
def _decoded(header: bytes) -> Any:
    return _driver.decode_header(io.BytesIO(header))
