"""Readers of foreign bytes, fuzzed: guided by coverage, and a little in every test."""
