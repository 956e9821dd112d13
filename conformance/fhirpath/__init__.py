"""FHIRPath for R4, compiled to Python closures and typed from the definitions.

`compile_paths` for search parameters, `compile_expression` for everything else (invariants, Patch, filters), `locate` for places that
are to be changed. Every failure is a FhirPathError.
"""

from conformance.fhirpath.expression import Expression, compile_expression
from conformance.fhirpath.locate import Location, locate
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.paths import Path, compile_paths

__all__ = ["Expression", "FhirPathError", "Location", "Path", "compile_expression", "compile_paths", "locate"]
