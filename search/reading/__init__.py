"""Parts of a query string that are languages of their own."""
