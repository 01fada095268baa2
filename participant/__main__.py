"""``python -m participant`` is ``mpc-participant``."""

from participant.cli.main import main

if __name__ == "__main__":
    main()
