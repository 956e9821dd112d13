"""CSV files and a mapping as the source."""
