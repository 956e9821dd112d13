"""De-identified exports: who asks for them or must have them, and what becomes of documents."""
