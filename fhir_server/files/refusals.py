"""What S3 storage says when it refuses -> what a person is told.

obstore gives the answer of the storage as text, with addresses, key ids and what was to be signed in it: none of that is passed on. An
error is known by the `Code` of the answer (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), else by its HTTP status.
"""

import logging
import re
from typing import Final

from fhir_server.files.contract import FilesUnavailable

_log = logging.getLogger("fhir_server")

_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,80})</Code>", re.ASCII)
_STATUS = re.compile(r"status code: ([0-9]{3})\b", re.ASCII)
_METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "latest/api/token")

_KEY = "the access key is wrong or no longer good (FHIR_FILES_ACCESS_KEY, FHIR_FILES_SECRET_KEY)"
_REGION = "the bucket is in another region (FHIR_FILES_REGION)"
_REFUSED = "access to the bucket is refused; it needs the rights to list, read, write and delete, and to abort multipart uploads"
_NO_BUCKET = "there is no such bucket (FHIR_FILES_URL)"
_FULL = "it is full, or its quota is used up"

TOLD: Final = {
    "AccessDenied": _REFUSED,
    "AccountProblem": _REFUSED,
    "AllAccessDisabled": _REFUSED,
    "AuthorizationHeaderMalformed": _REGION,
    "AuthorizationQueryParametersError": _REGION,
    "ExpiredToken": _KEY,
    "IllegalLocationConstraintException": _REGION,
    "InsufficientStorage": _FULL,
    "InvalidAccessKeyId": _KEY,
    "InvalidToken": _KEY,
    "NoSuchBucket": _NO_BUCKET,
    "PermanentRedirect": _REGION,
    "QuotaExceeded": _FULL,
    "RequestTimeTooSkewed": "the clocks of this machine and of the storage are too far apart",
    "SignatureDoesNotMatch": _KEY,
    "SlowDown": "it has too much to do",
    "XAdminUserNotFound": _KEY,  # VersityGW
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
}
"""Code -> what is the matter."""

_BY_STATUS = {"401": _KEY, "403": _REFUSED, "404": _NO_BUCKET, "507": _FULL}


def code_of(problem: BaseException) -> str:
    """The code of the storage's answer, else its HTTP status, else an empty text: there was no answer."""
    text = str(problem)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else ""


def unavailable(problem: BaseException) -> FilesUnavailable:
    """What is raised for a failure of the storage; it is logged by its code."""
    code = code_of(problem)
    what = TOLD.get(code) or _BY_STATUS.get(code)
    if what is None:
        what = f"it answered {code}" if code else _silence(str(problem))
    _log.error("files of jobs: S3 storage: %s (%s)", what, code or type(problem).__name__)
    return FilesUnavailable(f"The storage for the files of jobs cannot be used: {what}", full=what == _FULL)


def _silence(text: str) -> str:
    if any(place in text for place in _METADATA):
        return "no credentials were found (FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY, AWS' own variables, or a role)"
    if "Certificate" in text:
        return "its certificate is not trusted (FHIR_FILES_CA_FILE)"
    return "it cannot be reached (FHIR_FILES_ENDPOINT), or did not answer in time"
