"""A participant: an MPC server, a source client or a consumer client."""
