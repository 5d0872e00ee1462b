"""`make swagger` and `make uplot`: take the scripts of our pages from npm into the service.

`bundle/origin.json` records the version, npm's hash of the package and the hash of each file.
Without --version the recorded version is fetched again, and its files must be the same.
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
from typing import NamedTuple

WEB = Path(__file__).parent.parent / "service" / "player_sessions" / "web"


class Bundle(NamedTuple):
    """What is taken from a package: `texts` as they are, and `served` compressed, as sent."""

    target: Path
    texts: tuple[str, ...]
    served: tuple[str, ...]


BUNDLES = {
    "swagger-ui-dist": Bundle(
        WEB / "openapi" / "bundle",
        ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
        ("swagger-ui-bundle.js", "swagger-ui.css"),
    ),
    "uplot": Bundle(
        WEB / "page" / "bundle", ("LICENSE",), ("dist/uPlot.iife.min.js", "dist/uPlot.min.css")
    ),
}


def fetch(package: str, version: str, folder: Path) -> tuple[str, dict[str, bytes]]:
    """Return npm's integrity hash of the package, and its files by their path in it."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{version}"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    bundle = BUNDLES[package]
    with tarfile.open(archive) as opened:
        paths = (*bundle.texts, *bundle.served)
        members = {path: opened.extractfile(f"package/{path}") for path in paths}
        return f"sha512-{digest}", {path: file.read() for path, file in members.items() if file}


def write(package: str, version: str, integrity: str, files: dict[str, bytes]) -> None:
    """Write the files of a bundle, and the record of where they are from."""
    target, texts, served = BUNDLES[package]
    target.mkdir(exist_ok=True)
    for path in texts:
        (target / path).write_bytes(files[path])
    hashes = {}
    for path in served:
        name = Path(path).name
        (target / f"{name}.gz").write_bytes(gzip.compress(files[path], 9, mtime=0))
        hashes[name] = hashlib.sha256(files[path]).hexdigest()
    origin = {"package": package, "version": version, "integrity": integrity, "sha256": hashes}
    (target / "origin.json").write_text(json.dumps(origin, indent=2) + "\n")


def main() -> int:
    """Return the exit code: 1 if npm's files of the recorded version have changed."""
    parser = argparse.ArgumentParser(
        description="Renew the scripts of a page from npm.",
        epilog="Example: python dev/bundles.py uplot --version 1.6.32",
    )
    parser.add_argument("package", choices=BUNDLES)
    parser.add_argument("--version", help="version of the package (the recorded one)")
    options = parser.parse_args()
    package, target = options.package, BUNDLES[options.package].target
    origin = target / "origin.json"
    recorded = json.loads(origin.read_text()) if origin.exists() else {}
    version = options.version or recorded["version"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            integrity, files = fetch(package, version, Path(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"npm could not fetch {package}: {error}; install npm, or try later")
            return 1
    if version == recorded.get("version") and integrity != recorded["integrity"]:
        print(f"{package} {version} is not what {origin.name} records: do not use it")
        return 1
    write(package, version, integrity, files)
    print(f"{package} {version} is in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
