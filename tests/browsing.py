"""A browser's view of the service: what it requested, and proxies between the two."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from selenium.webdriver import Chrome

from dev.service import Service

PASSED_ON = ("Accept", "Authorization")
Scripted = Mapping[str, list[tuple[int, dict[str, str], Any]]]


def requested(browser: Chrome) -> list[str]:
    """Return the address of every request that the browser tried on the network."""
    logged: list[Any] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in logged]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("data:", "chrome:"))]  # its own pages


@contextmanager
def prefixed(server: Service, prefix: str, scripted: Scripted | None = None) -> Iterator[str]:
    """Serve what the service serves below `prefix`, as a proxy does; yield the proxy's address.

    `scripted` has answers that a path gets, one after the other, before it gets the service's.
    """

    class Proxy(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            path = self.path.removeprefix(prefix)
            if answers := (scripted or {}).get(path.partition("?")[0]):
                status, headers, document = answers.pop(0)
                headers = {"Content-Type": "application/problem+json", **headers}
                self.answer(status, headers.items(), json.dumps(document).encode())
                return
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            given |= {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            request = server.http.build_request(
                self.command, path, content=sent or None, headers=given
            )
            answer = server.http.send(request, stream=True)
            self.answer(answer.status_code, answer.headers.items(), b"".join(answer.iter_raw()))

        def answer(self, status: int, headers: Any, body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name not in ("date", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = pass_on

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()
