"""State of their own that apps keep here (https://hl7.org/fhir/smart-app-launch/STU2.2/app-state.html)."""
