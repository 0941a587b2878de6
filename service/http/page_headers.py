"""Security headers of HTML pages: no scripts and no data from other hosts, and no embedding in frames."""

from service.http.asgi_types import Header

COMMON_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
BENTO_PAGE_HEADERS: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
        b"base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
    *COMMON_HEADERS,
)
"""The headers of BentoML's page, which contains inline styles."""


def browser_page_headers(style_hash: bytes) -> tuple[Header, ...]:
    """The headers of the page at `/`. style_hash: the hash of its inline style sheet."""
    policy = (
        b"default-src 'none'; script-src 'self'; style-src 'self' '%s'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return (b"content-security-policy", policy % style_hash), *COMMON_HEADERS
