"""Whom TLS to the broker trusts."""

import ssl

from shared.errors import ConfigError


def context_for(authority: str | None) -> ssl.SSLContext | None:
    """Return the context that trusts one authority; ``None`` for the system's.

    Args:
        authority: PEM.

    Raises:
        ConfigError: it is no certificate.
    """
    if authority is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=authority)
    except ssl.SSLError as error:
        raise ConfigError(
            "the broker's authority is not a certificate in PEM",
            "give the certificate of the authority that signed the broker's",
        ) from error
    return context
