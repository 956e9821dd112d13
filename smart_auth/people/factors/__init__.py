"""Second factors: one-time passwords, passkeys, recovery codes."""
