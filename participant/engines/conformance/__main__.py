"""``python -m participant.engines.conformance NAME [PARTIES…]``."""

import sys
from collections.abc import Sequence

from participant.engines.conformance.checks import CHECKS
from participant.engines.conformance.subject import NotConformingError, Subject
from participant.engines.registry import engine
from shared.errors import FrameworkError

USAGE_EXIT = 2


def main(arguments: Sequence[str]) -> int:
    """Check an engine that adds up, and return 0 if it conforms."""
    if not arguments or not all(word.isdecimal() for word in arguments[1:]):
        sys.stderr.write(
            "usage: python -m participant.engines.conformance NAME [PARTIES…]\n"
        )
        return USAGE_EXIT
    try:
        subject = Subject(engine(arguments[0]))
        if arguments[1:]:
            subject = Subject(subject.engine, tuple(map(int, arguments[1:])))
    except FrameworkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    failures = 0
    for name, check in CHECKS.items():
        try:
            check(subject)
        except NotConformingError as error:
            failures += 1
            sys.stdout.write(f"{name}: {error}\n")
        else:
            sys.stdout.write(f"{name}: ok\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
