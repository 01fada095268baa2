"""Processes of their own for engines: a zygote forks one worker a job."""
