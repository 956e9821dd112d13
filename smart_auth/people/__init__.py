"""Sign-in of people: passwords, second factors, sessions, the account page."""
