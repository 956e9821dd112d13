"""SQL over views: what tables there are (`tables.py`), how a statement is read (`statement.py`) and run (`engine.py`), and what becomes of
its rows (`results.py`)."""
