"""The garbage collector of a process that runs for long."""

import gc


def spare_what_is_loaded() -> None:
    """Leave everything that exists by now out of later collections.

    Modules and their classes are never garbage, and walking over them again and
    again would stop the event loop for tens of milliseconds each time.
    """
    gc.collect()
    gc.freeze()
