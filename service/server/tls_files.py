"""The TLS files: a certificate, its key, and the authorities of client certificates. Checks them and creates contexts.

BentoML's options `--ssl-certfile`, `--ssl-keyfile` and `--ssl-ca-certs` name them.
"""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class TlsError(ValueError):
    """The files are not a certificate with its key. The message is one line."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of a certificate, its private key, and the authorities whose client certificates are accepted.

    ca_certs: if set, every client needs a certificate.
    """

    certfile: str
    keyfile: str | None = None
    ca_certs: str | None = None
    password: str | None = None

    @classmethod
    def of_arguments(cls, words: Sequence[str]) -> "TlsFiles | None":
        """The files in the command line of `bentoml serve` or of a worker; None without TLS."""
        named = ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certs", "--ssl-keyfile-password")
        cert, key, authorities, password = (_value_after(name, words) for name in named)
        return None if cert is None else cls(cert, key, authorities, password)

    @property
    def options(self) -> list[str]:
        """The options of `bentoml serve`."""
        named = {"--ssl-certfile": self.certfile, "--ssl-keyfile": self.keyfile, "--ssl-ca-certs": self.ca_certs}
        return [word for name, path in named.items() if path for word in (name, path)]

    @property
    def paths(self) -> list[str]:
        return [path for path in (self.certfile, self.keyfile, self.ca_certs) if path]

    def signature(self) -> list[tuple[int, ...] | None]:
        """A value that changes with the content of the files, even if Kubernetes replaces a link to them."""
        return [_signature(Path(path)) for path in self.paths]

    def check(self) -> None:
        """Raises TlsError if no valid context can be created from the files."""
        for path in self.paths:
            if not os.access(path, os.R_OK) or not Path(path).is_file():
                raise TlsError(f"the TLS file {path} cannot be read")
        try:
            self.context()
        except (OSError, ValueError) as error:
            raise TlsError(f"{' and '.join(self.paths)} cannot be used for TLS: {error}") from error

    def context(
        self, version: int = ssl.PROTOCOL_TLS_SERVER, cert_reqs: int = ssl.CERT_NONE, ciphers: str | None = None
    ) -> ssl.SSLContext:
        """A context for new connections, as uvicorn creates it at its start. Raises OSError or ValueError."""
        made = ssl.SSLContext(version)
        # Without a password, OpenSSL would prompt for the password of an encrypted key on the terminal.
        made.load_cert_chain(self.certfile, self.keyfile, self.password or "none")
        made.verify_mode = ssl.VerifyMode(cert_reqs)
        if self.ca_certs:
            made.load_verify_locations(self.ca_certs)
        if ciphers:
            made.set_ciphers(ciphers)
        self.require_client_certificates(made)
        return made

    def require_client_certificates(self, context: ssl.SSLContext) -> None:
        """Require client certificates, which uvicorn does not do without `--ssl-cert-reqs`, although it has the
        authorities."""
        if self.ca_certs and context.verify_mode == ssl.CERT_NONE:
            context.verify_mode = ssl.CERT_REQUIRED


def _value_after(option: str, words: Sequence[str]) -> str | None:
    """The value of an option, as `--option value` or `--option=value`."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else next(iter(words[place + 1 :]), None)
    return None


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
