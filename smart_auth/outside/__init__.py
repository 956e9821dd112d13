"""Identity from outside: people who sign in at an OpenID provider, and access tokens that another authorization server gives out."""
