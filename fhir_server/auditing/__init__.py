"""The record of who did what: what makes it tamper-evident, how it is verified, kept and archived (docs/adr/0018)."""
