"""What the pages share: the sidebar, its state, cached work, tables."""
