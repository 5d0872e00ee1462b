"""Certificates and key stores for TLS between the service and a real Cassandra."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

PASSWORD = "changeit"  # noqa: S105


def stores(folder: Path, authority: trustme.CA, name: str) -> dict[str, object]:
    """Write a node's key under `name` and the certificates it trusts; return their options."""
    leaf = authority.issue_cert(name)
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    certificate = load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    trusted = load_pem_x509_certificate(authority.cert_pem.bytes())
    encryption = BestAvailableEncryption(PASSWORD.encode())
    (folder / "node.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"node", key, certificate, [trusted], encryption)  # type: ignore[arg-type]
    )
    entry = pkcs12.PKCS12Certificate(trusted, b"authority")
    (folder / "trusted.p12").write_bytes(pkcs12.serialize_java_truststore([entry], encryption))
    return {
        "store_type": "PKCS12",
        "keystore": str(folder / "node.p12"),
        "keystore_password": PASSWORD,
        "truststore": str(folder / "trusted.p12"),
        "truststore_password": PASSWORD,
    }


def client_encryption(folder: Path, authority: trustme.CA, name: str) -> dict[str, object]:
    """Return client_encryption_options: TLS for clients that have a certificate."""
    return {
        "enabled": True,
        "optional": True,  # because the launcher waits for CQL without TLS
        "require_client_auth": True,
        **stores(folder, authority, name),
    }


def give_client_certificate(
    folder: Path, authority: trustme.CA, expires: datetime | None = None
) -> None:
    """Write the service's client.pem and client.key."""
    certificate = authority.issue_cert("player-sessions", not_after=expires)
    certificate.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "client.key"))
