"""The API key in a request's headers."""

from collections.abc import Mapping


def credentials(headers: Mapping[str, str]) -> str | None:
    """The key in `X-API-Key`, or else in `Authorization: Bearer`; None when there is neither.

    `headers` has lower-case names, as the ones of Starlette do. A key in the URL is none of its business.
    """
    return headers.get("x-api-key", "").strip() or bearer(headers)


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token in `Authorization: Bearer`, if there is one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None
