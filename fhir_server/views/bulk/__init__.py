"""`$viewdefinition-export`: views over a whole population as files, as a kind of jobs."""
