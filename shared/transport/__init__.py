"""How envelopes travel: the interface, AMQP and an in-memory broker."""
