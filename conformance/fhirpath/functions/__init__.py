"""FHIRPath's functions, by subject. Each module has a table `FUNCTIONS`: name -> Function."""
