"""Rows of a view as bytes, a batch at a time: JSON, NDJSON, CSV, Parquet, Arrow. `formats.py` chooses."""
