"""Delta tables that pass between the parts."""
