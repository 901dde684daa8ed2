"""The lease queue: which items wait, who holds them, what was answered.

Functions take an open transaction and a time, and speak plain values; the
service decides what goes into one transaction. They never read a clock.
"""
