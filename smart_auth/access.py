"""What an access token stands for."""

import msgspec

OPERATOR = "fhir-server token"
"""The client, and the subject, of tokens that are made on the command line by whoever can read the store."""


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """One access token's worth: who (`subject`: a user's name, or the client itself), through which client, with which scopes (as granted,
    separated by blanks), in which context.

    `role` is the user's, "" for a client of its own. `patient` and `encounter` are ids of the launch context, `fhir_user` a reference
    (`Practitioner/1`). `grant` is the id of the authorization that it comes from, `issued` and `expires` are microseconds since the epoch.
    `extra` are further members of the token response that introspection repeats (fhirContext, intent, need_patient_banner …).
    `deidentified`: the client gets de-identified exports and nothing else.
    """

    subject: str
    client: str
    scopes: str
    expires: int
    issued: int = 0
    role: str = ""
    patient: str = ""
    encounter: str = ""
    fhir_user: str = ""
    grant: str = ""
    client_name: str = ""
    user_name: str = ""
    extra: dict[str, object] = {}
    deidentified: bool = False
