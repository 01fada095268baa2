"""The command line of the manager."""
