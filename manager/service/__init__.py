"""The running manager: deliveries in, one transaction each, answers out."""
