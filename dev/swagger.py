"""`make swagger`: take Swagger UI's files from its npm package into service/player_sessions/docs.

`bundle/origin.json` records the version, npm's hash of the package and the hash of each file.
Without --version the recorded package is taken again and must be the same.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "swagger-ui-dist"
TARGET = Path(__file__).parent.parent / "service" / "player_sessions" / "docs" / "bundle"
ORIGIN = TARGET / "origin.json"
TEXTS = ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")
SERVED = ("swagger-ui-bundle.js", "swagger-ui.css")  # kept compressed, as they are sent


def fetch(version: str, folder: Path) -> tuple[str, dict[str, bytes]]:
    """(npm's integrity of the package, its files by name)."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{PACKAGE}@{version}"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    with tarfile.open(archive) as package:
        members = {name: package.extractfile(f"package/{name}") for name in (*TEXTS, *SERVED)}
        return f"sha512-{digest}", {name: file.read() for name, file in members.items() if file}


def main() -> int:
    """The exit code: 1 when the recorded version is no longer what it was."""
    recorded = json.loads(ORIGIN.read_text()) if ORIGIN.exists() else {}
    parser = argparse.ArgumentParser(
        description="Renew the scripts of the page /docs from npm.",
        epilog="example: python dev/swagger.py --version 5.35.0",
    )
    parser.add_argument(
        "--version", default=recorded.get("version"), help=f"of {PACKAGE} (%(default)s)"
    )
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as folder:
        try:
            integrity, files = fetch(version, Path(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"npm could not fetch {PACKAGE}: {error}; install npm, or try later")
            return 1
    if version == recorded.get("version") and integrity != recorded["integrity"]:
        print(f"{PACKAGE} {version} is not what {ORIGIN.name} records: do not use it")
        return 1
    for name in TEXTS:
        (TARGET / name).write_bytes(files[name])
    for name in SERVED:
        (TARGET / f"{name}.gz").write_bytes(gzip.compress(files[name], 9, mtime=0))
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in SERVED}
    origin = {"package": PACKAGE, "version": version, "integrity": integrity, "sha256": hashes}
    ORIGIN.write_text(json.dumps(origin, indent=2) + "\n")
    print(f"{PACKAGE} {version} is in {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
