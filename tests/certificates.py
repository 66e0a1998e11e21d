"""Certificates for tests: an authority, and what it signs, as PEM files that Kafka and librdkafka read."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_LOOPBACK = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])


class Authority:
    """Signs certificates, good for an hour; its own lies in `certificate`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        is_authority = x509.BasicConstraints(ca=True, path_length=None)
        own = _about(self._name, self._name, self._key).add_extension(is_authority, critical=True)
        self._own = own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.certificate = self._write("ca.pem", self._own)

    def server(self) -> Path:
        """Key, certificate and authority of a server on the loopback, in one file."""
        key, certificate = self._issue("localhost")
        return self._write("server.pem", _pem(key) + certificate + self._own)

    def client(self, name: str, *, password: str) -> tuple[Path, Path]:
        """The certificate of whoever is called so, and its key, which the password opens."""
        key, certificate = self._issue(name)
        return self._write(f"{name}.pem", certificate), self._write(f"{name}.key", _pem(key, password))

    def _issue(self, name: str) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        about = _about(_name(name), self._name, key).add_extension(_LOOPBACK, critical=False)
        return key, about.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _about(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
    )


def _pem(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    lock = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
