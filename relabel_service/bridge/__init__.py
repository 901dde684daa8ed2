"""Programs that connect other labeling frontends to the service, each a process of its own."""
