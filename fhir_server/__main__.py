"""`python -m fhir_server`: the same as the command `fhir-server`."""

if __name__ == "__main__":  # the load processes import this module too, and need no command line
    from fhir_server.cli import main

    main()
