"""The manifest of an import as a Parameters resource, as some servers have it: the same names, inputs and storageDetail with parts."""

from typing import Any

import msgspec

from resources.outcomes import bad_request

SIMPLE = ("inputFormat", "inputSource", "mode")
PARTS = {"input": ("type", "url"), "storageDetail": ("type", "contentEncoding")}


class _Parameter(msgspec.Struct, rename={"uri": "valueUri", "url": "valueUrl", "code": "valueCode", "string": "valueString"}):
    name: str
    uri: str | None = None
    url: str | None = None
    code: str | None = None
    string: str | None = None
    part: "list[_Parameter]" = []

    @property
    def value(self) -> str | None:
        """What it says, in whichever of the types of text."""
        return next((each for each in (self.uri, self.url, self.code, self.string) if each is not None), None)


class _Parameters(msgspec.Struct):
    parameter: list[_Parameter] = []


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""


_decode = msgspec.json.Decoder(_Parameters).decode


def is_parameters(body: bytes) -> bool:
    """Whether a body is a Parameters resource. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=_Head).resource_type == "Parameters"


def manifest_of(body: bytes) -> dict[str, Any]:
    """The manifest that the parameters make, as JSON values. Raises msgspec.DecodeError, and FhirError 400 for a parameter that has no
    meaning here, or comes twice."""
    found: dict[str, Any] = {"input": []}
    for place, each in enumerate(_decode(body).parameter):
        where = f"Parameters.parameter[{place}]"
        if each.name in SIMPLE and each.value is not None and each.name not in found:
            found[each.name] = each.value
        elif each.name == "input":
            found["input"].append(_parts(each, where))
        elif each.name == "storageDetail" and each.name not in found:
            found[each.name] = _storage(each, where)
        else:
            text = f"{each.name[:64]} is no parameter of $import that may stand here: inputFormat, inputSource, mode, input, storageDetail"
            raise bad_request(text, where, "invalid")
    return found


def _storage(parameter: _Parameter, where: str) -> dict[str, Any]:
    found: dict[str, Any] = _parts(parameter, where)
    if "contentEncoding" in found:
        found["contentEncoding"] = [found["contentEncoding"]]
    return found


def _parts(parameter: _Parameter, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parameter.part:
        if part.name not in PARTS[parameter.name] or part.value is None or part.name in found:
            raise bad_request(f"{part.name[:64]} is no part of {parameter.name}", where, "invalid")
        found[part.name] = part.value
    return found
