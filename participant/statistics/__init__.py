"""What can be asked: prepared at the source, finished at the consumer."""
