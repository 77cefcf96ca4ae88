"""Writgate's formats, implemented from docs/spec alone.

This package shares no code with Writgate. `python -m writgate_v1 DOCS_SPEC` checks every test vector.
"""
