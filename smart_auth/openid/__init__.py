"""OpenID Connect: who has signed in, told to apps in a signed token, and the documents by which they find all addresses."""
