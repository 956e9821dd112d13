"""The pages that people see, as Jinja templates beside this file; they all work without JavaScript but for passkeys."""
