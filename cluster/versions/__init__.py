"""The next version of a data set: from people's results, or by a policy."""
