"""The settings of exports, each once: `fhir_server.config.Settings` is made of these and more."""

from typing import Literal

from fhir_server.importing.settings import ImportSettings
from smart_auth.outside.settings import setting


class ExportSettings(ImportSettings):
    """Fields of `fhir_server.config.Settings`; the setting `export_deidentify` is the environment variable `FHIR_EXPORT_DEIDENTIFY`."""

    export_deidentify: Literal["allowed", "always"] = setting(
        "allowed",
        "Which exports are de-identified. `allowed`: those that ask for it, and all of `FHIR_EXPORT_DEIDENTIFIED_CLIENTS`. `always`: every"
        " one.",
    )
    export_deidentified_clients: str = setting(
        "",
        "Clients, by their ids separated by blanks, that get de-identified exports and nothing else of this server, whatever their scopes"
        " say.",
    )
    export_deidentified_dates: Literal["year", "shift"] = setting(
        "year",
        "What those who get de-identified exports alone get of dates. `year`: only years, as Safe Harbor asks. `shift`: whole ones, shifted"
        " by days that are each patient's own, where they ask for `_deidentify=shifted-dates`; an expert has to determine that the risk"
        " is very small.",
    )

    def only_deidentified(self, client: str) -> bool:
        """Whether a client gets de-identified exports and nothing else."""
        return client in self.export_deidentified_clients.split()
