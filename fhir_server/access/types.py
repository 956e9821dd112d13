"""What a patient's scopes (`patient/Type.letters`) mean for types that lie outside of the Patient compartment, type by type.

Types of the compartment (https://hl7.org/fhir/R4/compartmentdefinition-patient.html) are not here: of these the patient's own documents.
`tests/access/test_types.py` sees to it that each of the types has one place and one only.
"""

from types import MappingProxyType
from typing import Final, NamedTuple

SHARED: Final = frozenset(
    (
        # who and where care is given
        *("Endpoint", "HealthcareService", "InsurancePlan", "Location", "Organization", "OrganizationAffiliation", "Practitioner"),
        *("PractitionerRole", "Slot"),
        # medications and substances, as catalogues tell of them
        *("CatalogEntry", "DeviceDefinition", "Medication", "MedicationKnowledge", "ObservationDefinition", "SpecimenDefinition"),
        *("MedicinalProduct", "MedicinalProductAuthorization", "MedicinalProductContraindication", "MedicinalProductIndication"),
        *("MedicinalProductIngredient", "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged"),
        *("MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "Substance", "SubstanceNucleicAcid"),
        *("SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation", "SubstanceSourceMaterial"),
        "SubstanceSpecification",
        # definitions and knowledge
        *("ActivityDefinition", "CapabilityStatement", "ChargeItemDefinition", "CodeSystem", "CompartmentDefinition", "ConceptMap"),
        *("EffectEvidenceSynthesis", "EventDefinition", "Evidence", "EvidenceVariable", "ExampleScenario", "GraphDefinition"),
        *(
            "ImplementationGuide",
            "Library",
            "Measure",
            "MessageDefinition",
            "NamingSystem",
            "OperationDefinition",
            "PlanDefinition",
        ),
        *("Questionnaire", "ResearchDefinition", "ResearchElementDefinition", "ResearchStudy", "RiskEvidenceSynthesis"),
        *("SearchParameter", "StructureDefinition", "StructureMap", "TerminologyCapabilities", "TestScript", "ValueSet"),
        "ViewDefinition",
    )
)
"""Types whose documents are nobody's in particular: they can be read and searched, and never be written, whoever the patient is."""

BY_PATIENT: Final = frozenset(("Contract", "Device", "GuidanceResponse", "Task"))
"""Types outside of the compartment that name their patient: those documents whose parameter `patient` leads to this one."""

WITHHELD: Final = MappingProxyType(
    {
        "AuditEvent": "it tells who looked at whose record; Patient/[id]/$access-log shows patients theirs",
        "BiologicallyDerivedProduct": "it comes from a donor, whom no search parameter names",
        "Binary": "it can hold anything, and nothing that a search could ask says of whom",
        "Bundle": "it can hold documents of anybody",
        "DeviceMetric": "it is of a device, which may be anybody's",
        "EnrollmentResponse": "it answers an EnrollmentRequest, and does not itself say for whom",
        "Linkage": "it ties records of any two resources together",
        "MessageHeader": "it can be about anything and anybody",
        "OperationOutcome": "it can quote anything",
        "Parameters": "it can hold documents of anybody",
        "PaymentNotice": "it is about a claim that it only refers to, which may be anybody's",
        "PaymentReconciliation": "it lists payments for many patients",
        "Subscription": "it says where events are sent, with which secrets",
        "TestReport": "it is about this server, and quotes what was tested with",
        "VerificationResult": "it is about any other resource",
    }
)
"""Type -> why `patient/` scopes never give any of its documents."""

OF_AUDITORS: Final = "AuditEvent"
"""Only roles of AUDITORS, and clients with a `system/` scope that names it or `*`, see any of it."""

AUDITORS: Final = frozenset(("auditor", "admin"))

BINARY: Final = "Binary"
"""It says nothing itself of whom it is about: where a Consent keeps something, the resource that its `securityContext` names stands in for
it (https://hl7.org/fhir/R4/binary.html#security)."""

ADMINISTRATION: Final = "SearchParameter"
"""Who writes it administers the server."""


class Writers(NamedTuple):
    """Who may write a type: users of these `roles` with these `letters`, by scopes that begin with `patient/` only where `record` says so.
    Clients with a `system/` scope for it may too. `why` it is not everybody with a scope."""

    letters: str
    roles: frozenset[str]
    record: bool
    why: str


_ADMIN: Final = frozenset(("admin",))

WRITTEN_BY: Final = MappingProxyType(
    {
        ADMINISTRATION: (Writers("cud", _ADMIN, False, "it changes what searches of all find"),),
        "Person": (Writers("cud", _ADMIN, False, "it says whose records are a user's own, also by way of RelatedPersons"),),
        "RelatedPerson": (
            Writers("cd", _ADMIN | {"practitioner", "front-desk"}, False, "it says whose record is a user's own"),
            Writers("u", _ADMIN, False, "who is a user already would be given another record, or one of before again"),
        ),
        "Practitioner": (Writers("cud", _ADMIN, False, "consents name it: what it is decides who is kept away"),),
        "PractitionerRole": (Writers("cud", _ADMIN, False, "consents for an organization hold for whom it says to work there"),),
        "Organization": (Writers("cud", _ADMIN, False, "consents name it: what it is decides who is kept away"),),
        "Consent": (
            Writers("ud", _ADMIN | {"patient"}, True, "to change or delete it opens what it keeps; a new one only keeps more"),
        ),
    }
)
"""Types whose documents decide who may see what; all others are written by whoever has a scope and a role for it."""

FREE: Final = "Schedule"
"""It lies in the compartment by its actor, but most are a practitioner's or a room's: those that lie in no patient's compartment can be
read like SHARED, or nobody could book."""
