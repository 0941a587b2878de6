"""TLS: the context of new connections, made anew when a file of the certificate changes, and the checks of the files.

BentoML's options `--ssl-certfile`, `--ssl-keyfile` and `--ssl-ca-certs` name the files. uvicorn reads them at the
start only.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import create_ssl_context

from service.periodic_work import repeat

CHECK_INTERVAL_S = 1.0
HANDSHAKE_S = 5.0  # for a client to complete the handshake
CLOSE_S = 2.0  # for a client to confirm the end of a connection
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
log = logging.getLogger("tabserve.server")


class TlsError(ValueError):
    """Files that are not a certificate with its key; the message is one line."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of a certificate, its private key, and the authorities whose client certificates are accepted.

    ca_certs: if it is set, every client needs a certificate.
    """

    certfile: str
    keyfile: str | None = None
    ca_certs: str | None = None
    password: str | None = None

    @classmethod
    def of_arguments(cls, words: Sequence[str]) -> "TlsFiles | None":
        """The files in the command line of a worker; None without TLS."""
        named = ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certs", "--ssl-keyfile-password")
        cert, key, authorities, password = (_value_after(name, words) for name in named)
        return None if cert is None else cls(cert, key, authorities, password)

    @classmethod
    def of_config(cls, config: uvicorn.Config) -> "TlsFiles":
        texts = [
            None if path is None else os.fspath(path)
            for path in (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs)
        ]
        return cls(str(texts[0]), texts[1], texts[2], config.ssl_keyfile_password)

    @property
    def paths(self) -> list[str]:
        return [path for path in (self.certfile, self.keyfile, self.ca_certs) if path]

    def signature(self) -> list[tuple[int, ...] | None]:
        """Changes with the content of the files, also if a link to them is exchanged, as Kubernetes does."""
        return [_signature(Path(path)) for path in self.paths]

    def check(self) -> None:
        """Raises TlsError if no context can be made of the files."""
        for path in self.paths:
            if not os.access(path, os.R_OK) or not Path(path).is_file():
                raise TlsError(f"the TLS file {path} cannot be read")
        try:
            self.context(ssl.PROTOCOL_TLS_SERVER, ssl.CERT_NONE, None)
        except (OSError, ValueError) as error:
            raise TlsError(f"{' and '.join(self.paths)} cannot be used for TLS: {error}") from error

    def context(self, version: int, cert_reqs: int, ciphers: str | None) -> ssl.SSLContext:
        """Raises OSError or ValueError."""
        # An empty password: OpenSSL would ask for that of an encrypted key on the terminal.
        made = create_ssl_context(
            self.certfile, self.keyfile, self.password or "none", version, cert_reqs, self.ca_certs, ciphers
        )
        require_client_certificates(made, self.ca_certs)
        return made


class TlsContext:
    """The context for the connections of a server that has not started yet."""

    def __init__(self, config: uvicorn.Config) -> None:
        assert config.ssl is not None
        require_client_certificates(config.ssl, config.ssl_ca_certs)
        config.encoded_headers.append(STRICT_TRANSPORT)
        self.files = TlsFiles.of_config(config)
        self._config = config
        self._context = config.ssl
        self._seen = self.files.signature()

    @classmethod
    def of(cls, server: uvicorn.Server | None) -> "TlsContext | None":
        """None for a server without TLS."""
        return cls(server.config) if server is not None and server.config.is_ssl else None

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the event loop for a new connection."""
        return {"ssl": self._context, "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": CLOSE_S}

    async def follow(self) -> None:
        """Read the files when they change, until cancelled. Connections that are open keep their certificate."""

        async def look() -> None:
            await asyncio.to_thread(self.look)

        await repeat(look, CHECK_INTERVAL_S, "the TLS files cannot be checked")

    def look(self) -> None:
        """Read the files if they have changed. Keeps the present certificate if they cannot be used."""
        seen = self.files.signature()
        if seen == self._seen:
            return
        self._seen = seen
        config = self._config
        try:
            self._context = self.files.context(config.ssl_version, config.ssl_cert_reqs, config.ssl_ciphers)
        except (OSError, ValueError) as error:
            log.error("the new TLS files cannot be used, keeping the certificate", extra={"reason": str(error)})
        else:
            log.info("TLS certificate replaced", extra={"file": self.files.certfile})


def require_client_certificates(context: ssl.SSLContext, ca_certs: object) -> None:
    """Require what uvicorn would not without `--ssl-cert-reqs`, although it has the authorities of the clients."""
    if ca_certs and context.verify_mode == ssl.CERT_NONE:
        context.verify_mode = ssl.CERT_REQUIRED


def _value_after(name: str, words: Sequence[str]) -> str | None:
    return words[place + 1] if name in words and (place := list(words).index(name)) + 1 < len(words) else None


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
