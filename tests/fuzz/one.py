"""One target under atheris: ``python -m tests.fuzz.one TARGET [FILE|FOLDER|-flag…]``."""

import os
import sys

import atheris

with atheris.instrument_imports(include=["shared", "participant"]):
    from tests.fuzz.targets import PROGRAM, TARGETS


def main() -> None:
    """Fuzz, or run the inputs that are named."""
    target = TARGETS[sys.argv[1]]
    program = os.environ.get(PROGRAM, sys.argv[0])
    atheris.Setup([program, *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
