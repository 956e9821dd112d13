"""Codes and refresh tokens, and what is given for them. Each counts once; whoever uses one again ends all that came of it."""
