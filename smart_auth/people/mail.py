"""Mail: links that reset a password, and what was changed. Sent beside the answers, so that the time an answer takes tells nobody who has
an account."""

import asyncio
import logging
from collections.abc import Coroutine
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

from smart_auth.settings import SignInSettings
from smart_auth.users import User

_log = logging.getLogger(__name__)
_SECONDS = 30
_MOST = 100
_running: set[asyncio.Task[None]] = set()


def beside(work: Coroutine[Any, Any, None]) -> None:
    """Do this without anybody waiting for it. What fails is logged, without what it was about; where too many wait, it is
    dropped."""
    if len(_running) >= _MOST:
        work.close()
        _log.warning("more than %d mails wait to be sent; one was dropped", _MOST)
        return
    task = asyncio.get_running_loop().create_task(_logged(work))
    _running.add(task)
    task.add_done_callback(_running.discard)


def tell(settings: SignInSettings, user: User, what: str) -> None:
    """Tell a user, where there is a mail server and an address, what was changed about how they sign in: it may not have been they."""
    if settings.smtp_url is None or not user.email:
        return
    text = (
        f"{what}\n\nThis is about your account {user.name} at {settings.sign_in_name}. If it was not you, set a new password at once"
        " and tell whoever runs this server.\n"
    )
    beside(send(settings, user.email, f"Your account at {settings.sign_in_name}", text))


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as failure:  # nobody waits for it, so this is the only place where it can be told
        _log.error("a mail could not be sent (%s); see FHIR_SMTP_URL", type(failure).__name__)


async def send(settings: SignInSettings, to: str, subject: str, text: str) -> None:
    """Send a plain text. Raises aiosmtplib.SMTPException or OSError."""
    import aiosmtplib

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = settings.mail_from, to, subject
    message.set_content(text)
    url = urlsplit(settings.smtp_url.get_secret_value() if settings.smtp_url else "")
    implicit, host = url.scheme == "smtps", url.hostname or ""
    guarded = bool(url.username) and host not in ("localhost", "127.0.0.1", "::1")
    await aiosmtplib.send(
        message,
        hostname=host,
        port=url.port or (465 if implicit else 587 if url.username else 25),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=implicit,
        start_tls=None if implicit or not guarded else True,  # a password never goes over the network in the clear
        timeout=_SECONDS,
    )
