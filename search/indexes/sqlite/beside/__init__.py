"""What is asked of the SQLite index beside pages of a search."""
