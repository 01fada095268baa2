"""What to tell a person when the broker says no, or nothing."""

from shared.transport.base import (
    LOST_HINT,
    CredentialsRefusedError,
    LinkLostError,
    RefusedByBrokerError,
    UnreachableError,
)


def vhost_refused(where: str, vhost: str) -> CredentialsRefusedError:
    """The user is known and may not enter the vhost, or there is none such."""
    return CredentialsRefusedError(
        f"the broker at {where} refuses access to vhost {vhost!r}",
        "see whether the realm's name is right and the broker knows this vhost",
    )


def login_refused(where: str) -> CredentialsRefusedError:
    """User or password are wrong, or the user was deleted."""
    return CredentialsRefusedError(
        f"the broker at {where} refuses this user or password",
        "a revoked principal must enrol again with a new token; else see whether"
        " the credentials are those of this broker",
    )


def unreachable(where: str, error: BaseException) -> UnreachableError:
    """There is no AMQP conversation at all."""
    return UnreachableError(
        f"no broker answers at {where}: {root_reason(error)}",
        "see whether the broker runs, and whether address, port and amqp or amqps"
        " are right",
    )


def operation_refused(reply: str) -> RefusedByBrokerError:
    """One operation closed its channel; ``reply`` is the broker's own text."""
    return RefusedByBrokerError(
        f"the broker refused: {reply}",
        "see whether this broker user has the permission and the object exists",
    )


def link_lost(reason: str) -> LinkLostError:
    """The connection broke under an operation."""
    return LinkLostError(f"the connection to the broker is lost: {reason}", LOST_HINT)


def root_reason(error: BaseException) -> str:
    """Return the words of the innermost of nested errors.

    Connection libraries wrap the one that says something (``ECONNREFUSED``) in
    several that say nothing.
    """
    nested = (*getattr(error, "exceptions", ()), getattr(error, "exception", None))
    inner = [e for e in (*nested, *error.args) if isinstance(e, BaseException)]
    return root_reason(inner[-1]) if inner else str(error) or type(error).__name__
