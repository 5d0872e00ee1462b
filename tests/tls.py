"""Key stores for a real Cassandra, as Java reads them."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

PASSWORD = "changeit"


def stores(folder: Path, authority: trustme.CA, name: str) -> dict[str, object]:
    """Of a node's encryption options: its key under `name`, and whose certificates it trusts."""
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
