"""By which name and marks users know whose server this is (https://hl7.org/fhir/smart-app-launch/STU2.2/brands.html)."""
