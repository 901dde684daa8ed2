"""Images and sounds of items: fetched, checked, measured."""
