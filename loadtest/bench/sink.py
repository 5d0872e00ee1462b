"""Receive traces over OTLP/HTTP and count their spans.

`POST /v1/traces` takes what OpenTelemetry sends; any `GET` returns the number of spans so far.
"""

from __future__ import annotations

import gzip
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dev.service import PREFIX


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    spans = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            _Handler.spans += sum(len(scope.spans) for scope in resource.scope_spans)
        self._answer(b"", "application/x-protobuf")

    def do_GET(self) -> None:
        self._answer(b"%d" % _Handler.spans, "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def main() -> int:
    port = int(os.environ[f"{PREFIX}HTTP_PORT"])
    ThreadingHTTPServer(("127.0.0.1", port), _Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
