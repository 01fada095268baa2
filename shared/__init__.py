"""What both programs need: names, codec, crypto, messages, envelopes, transports."""
