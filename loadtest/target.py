"""How the service under test is reached: its address, a key, and which authorities are trusted."""

from __future__ import annotations

import argparse
import os
import ssl
from pathlib import Path
from typing import Any

KEY_VARIABLE = "PLAYER_SESSIONS_LOAD_KEY"


def add_options(add: Any) -> None:
    """`add` is the add_argument of any parser."""
    add("--key-file", help=f"file with the API key; else the variable {KEY_VARIABLE}")
    add(
        "--ca-file", help="PEM of the authorities to trust beside none other; default: the system's"
    )
    add("--insecure", action="store_true", help="do not check the service's certificate")
    add("--timeout", type=float, default=10.0, help="seconds for an answer (%(default)s)")


def headers(options: argparse.Namespace) -> dict[str, str]:
    """Of every request; raises OSError where the key file cannot be read."""
    file = options.key_file
    key = Path(file).read_text().strip() if file else os.environ.get(KEY_VARIABLE, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def tls(options: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
