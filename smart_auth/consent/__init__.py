"""What a user lets an app do: the consent page, the choice of a patient, the list of what was granted (docs/adr/0017)."""
