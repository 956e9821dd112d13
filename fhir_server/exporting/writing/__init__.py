"""The files of an export: what becomes of a document, and which file it goes into."""
