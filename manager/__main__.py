"""``python -m manager``."""

from manager.cli.main import main

if __name__ == "__main__":
    main()
