"""TLS of the gRPC server, with the TLS files of the HTTP server. Changed files are loaded again. Needs gRPC."""

import logging
from pathlib import Path
from typing import Any

import grpc

from service.server.tls_files import TlsError, TlsFiles

log = logging.getLogger("tabserve.grpc")


def server_credentials(files: TlsFiles) -> Any:
    """Credentials that read the files at a handshake if they have changed. Raises TlsError for an encrypted key."""
    if files.password:
        raise TlsError("gRPC cannot read an encrypted key: use a key without a password, or turn gRPC off")
    files.check()
    seen = [files.signature()]

    def changed() -> Any:
        """The new certificate; None to keep the current one. gRPC calls this function at each handshake."""
        if (found := files.signature()) == seen[0]:
            return None
        seen[0] = found
        try:
            files.check()
            return certificates(files)
        except (TlsError, OSError) as error:
            log.error("the new TLS files cannot be used, keeping the certificate", extra={"reason": str(error)})
            return None

    return grpc.dynamic_ssl_server_credentials(
        certificates(files), changed, require_client_authentication=files.ca_certs is not None
    )


def certificates(files: TlsFiles) -> Any:
    certificate = Path(files.certfile).read_bytes()
    key = Path(files.keyfile or files.certfile).read_bytes()
    authorities = Path(files.ca_certs).read_bytes() if files.ca_certs else None
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)
