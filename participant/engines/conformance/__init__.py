"""What every engine has to do, as checks that its author can run.

``python -m participant.engines.conformance NAME`` runs them on an installed engine that
adds up; docs/engines.md shows how to run them in tests, and on other engines.
"""
