"""A module that cannot be imported before a fork."""

import threading

_FOREVER = threading.Event()
threading.Thread(target=_FOREVER.wait, daemon=True).start()
