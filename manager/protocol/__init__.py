"""Pure state machines of the manager, one module an exchange."""
