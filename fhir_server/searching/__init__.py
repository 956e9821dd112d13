"""How a search is read, carried out over one type or several, and answered."""
