"""How clients come to be known: dynamic registration, and what is checked of any client."""
