"""MPC engines: how values become shares, shares a result."""
