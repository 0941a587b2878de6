"""TLS of a server: the context of new connections, which is replaced when a file changes. uvicorn reads the files
only once."""

import asyncio
import logging
import os
from typing import Any

import uvicorn

from service.periodic_work import repeat
from service.server.tls_files import TlsFiles

CHECK_INTERVAL_S = 1.0
HANDSHAKE_S = 5.0  # time for a client to complete the handshake
CLOSE_S = 2.0  # time for a client to confirm the end of a connection
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
log = logging.getLogger("tabserve.server")


class TlsContext:
    """The context for the connections of a server that has not started yet."""

    def __init__(self, config: uvicorn.Config) -> None:
        assert config.ssl is not None
        self.files = files_of(config)
        self.files.require_client_certificates(config.ssl)
        config.encoded_headers.append(STRICT_TRANSPORT)
        self._config = config
        self._context = config.ssl
        self._seen = self.files.signature()

    @classmethod
    def of(cls, server: uvicorn.Server | None) -> "TlsContext | None":
        """The TLS context of a server; None for a server without TLS."""
        return cls(server.config) if server is not None and server.config.is_ssl else None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments with which the event loop creates a new connection."""
        return {"ssl": self._context, "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": CLOSE_S}

    async def follow(self) -> None:
        """Read the files when they change, until cancelled. Open connections keep their certificate."""

        async def poll() -> None:
            await asyncio.to_thread(self.poll)

        await repeat(poll, CHECK_INTERVAL_S, "the TLS files cannot be checked")

    def poll(self) -> None:
        """Read the files if they have changed. If they cannot be used, the current certificate stays."""
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


def files_of(config: uvicorn.Config) -> TlsFiles:
    cert, key, authorities = (
        None if path is None else os.fspath(path)
        for path in (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs)
    )
    return TlsFiles(str(cert), key, authorities, config.ssl_keyfile_password)
