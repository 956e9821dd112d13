"""Parts of an export that do not go through the documents of one type as the store has them."""
