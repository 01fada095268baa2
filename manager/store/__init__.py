"""What the manager must not forget: one SQLite file, one transaction a batch."""
