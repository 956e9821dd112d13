"""The public keys of clients: read, checked, fetched from where a client publishes them."""
