"""What is timed, each against a peer or a bound."""
