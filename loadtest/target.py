"""The service under test: its address, a key, and the certificate authorities to trust."""

from __future__ import annotations

import argparse
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY_VARIABLE = "PLAYER_SESSIONS_LOAD_KEY"


def add_options(add: Any) -> None:
    """Add the options; `add` is any parser's add_argument."""
    add("--key-file", help=f"file with the API key (default: the variable {KEY_VARIABLE})")
    add("--ca-file", help="PEM file of the only certificate authorities to trust (the system's)")
    add("--insecure", action="store_true", help="do not check the service's certificate")
    add("--timeout", type=float, default=10.0, help="seconds to wait for an answer (%(default)s)")


def url(host: str) -> str:
    """Return the URL to which paths are appended; raise ValueError if it is no URL of HTTP."""
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("say which service: --host http://127.0.0.1:8080")
    return host.rstrip("/")


def headers(options: argparse.Namespace) -> dict[str, str]:
    """Return the headers of every request; raise OSError if the key file cannot be read."""
    file = options.key_file
    key = Path(file).read_text().strip() if file else os.environ.get(KEY_VARIABLE, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def tls(options: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
