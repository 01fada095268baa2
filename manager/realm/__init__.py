"""A realm as its operator makes it: its keys, its descriptor, private files."""
