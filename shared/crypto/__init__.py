"""The only importers of nacl and cryptography."""
