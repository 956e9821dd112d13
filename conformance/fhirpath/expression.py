"""temporary"""
from conformance.fhirpath.truth import Conditions
from conformance.fhirpath.nodes import FhirPathError
def resource_type_of(type_name):
    from conformance.fhirpath.model import is_resource
    first = type_name.split(".")[0]
    return first if is_resource(first) else None
def fallback(tree, type_name, resource_type): raise FhirPathError("no fallback "+str(tree), tree.at)
def conditions(resource_type, search=False): return Conditions(fallback, resource_type, search)
def compile_expression(tree, t): raise FhirPathError("no gen", tree.at)
