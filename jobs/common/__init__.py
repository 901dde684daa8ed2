"""What several jobs share: options, the session, progress."""
