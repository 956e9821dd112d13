"""Commands about files in bulk."""
