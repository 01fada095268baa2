"""Pure state machines of a participant, one module an exchange."""
