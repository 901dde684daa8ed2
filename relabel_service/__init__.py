"""Contract, tables, lease queue, service and client of relabel-service.

Never imports torch; imports Ray in serve.py alone.
"""
