"""The lease queue: which items wait, who has leases on them, which results were submitted.

Functions take an open transaction and a time, and speak plain values; the
service decides what goes into one transaction. They never read a clock.
"""
