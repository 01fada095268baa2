"""``mpc-manager selftest``: tries what a realm has to refuse, against the running one.

It plays a participant against the manager, so it stands beside both programs and
imports from both; nothing imports it.
"""
