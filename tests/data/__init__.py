"""Small data sets for the demo and the tests, and the scripts that rebuild them from packages."""
