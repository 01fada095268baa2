"""What every state machine shares: events, effects, the replay window."""
