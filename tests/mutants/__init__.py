"""Which tests fall when a check of the protocol is removed."""
