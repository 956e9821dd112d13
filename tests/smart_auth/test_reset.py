"""A forgotten password: the link that comes by a real mail server, what it is good for, what a stranger learns."""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, Self

import httpx
import pyotp
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Received
from aiosmtpd.smtp import AuthResult
from people import PASSWORD, SIGN_IN, Browser, Found, People, people, said

from smart_auth.people import mail as mail_sending
from smart_auth.people import reset
from smart_auth.people.delays import FREE
from smart_auth.settings import SignInSettings

ASK, CHOOSE, PROVE = "/oauth/reset", "/oauth/reset/password", "/oauth/second-factor"
NEW = "remembered from now on"
DONE = "If there is an account with this name or address, a link is on its way to its mail address. It is good for 30 minutes."


class Inbox(Received):
    """What a mail server has received."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


def text_of(mail: Message) -> str:
    content = mail.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


@dataclass
class Post:
    """A server with people, and the mail that it sends."""

    crowd: People
    inbox: Inbox
    seen: int = field(default=0)

    def settled(self) -> int:
        """How many mails there are once all that was to be sent, beside any answer until now, has been sent."""
        deadline = time.monotonic() + 60
        while mail_sending._running:
            assert time.monotonic() < deadline, "mails are still being sent"
            time.sleep(0.01)
        return len(self.inbox.mails)

    def next(self) -> Message:
        """The next mail."""
        deadline = time.monotonic() + 60
        while len(self.inbox.mails) <= self.seen:
            assert time.monotonic() < deadline, "no mail came"
            time.sleep(0.01)
        self.seen += 1
        return self.inbox.mails[self.seen - 1]

    def link(self) -> str:
        """The link in the next mail that asks for a password, without the server's address."""
        while not str((mail := self.next())["Subject"]).startswith("A new password"):
            pass
        found = re.search(rf"^{re.escape(self.crowd.running.root)}(/oauth/reset\?token=[\w-]+)\r?$", text_of(mail), re.M)
        assert found is not None, mail.as_string()
        return found.group(1)


class MailServer(Controller):
    """Takes mail at a port of 127.0.0.1 that is its own from the first, in a `with` statement."""

    def __init__(self, inbox: Inbox, **options: Any) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        super().__init__(inbox, hostname="127.0.0.1", port=self._listening.getsockname()[1], ready_timeout=60.0, **options)

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self._listening)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture(scope="module")
def posted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """What `post` gives, for all tests."""
    with MailServer(inbox := Inbox()) as server:
        settings: dict[str, Any] = {"smtp_url": f"smtp://127.0.0.1:{server.port}", "mail_from": "Clinic <no-reply@example.org>"}
        with people(tmp_path_factory.mktemp("post"), 40, **settings) as made:
            yield Post(made, inbox)


@pytest.fixture
def post(posted: Post) -> Post:
    """A server that sends its mail to a mail server of the test. What earlier tests had sent has come."""
    posted.crowd.clock.catch_up()
    posted.seen = posted.settled()
    return posted


def ask(browser: Browser, text: str) -> httpx.Response:
    return browser.send(browser.get(ASK), ASK, username=text)


def choose(browser: Browser, link: str, password: str = NEW) -> httpx.Response:
    return browser.send(browser.get(link), CHOOSE, password=password)


def test_a_forgotten_password(post: Post) -> None:
    """The link that comes by mail sets a new password, after which the old one and all sessions are over."""
    name, browser = post.crowd.user(), post.crowd.browser()
    elsewhere = post.crowd.browser().entered(name)
    assert DONE in ask(browser, f" {name.upper()} ").text
    link = post.link()
    mail = post.inbox.mails[-1]
    assert (mail["To"], mail["From"]) == (f"{name}@example.org", "Clinic <no-reply@example.org>") and name in text_of(mail)
    answer = choose(browser, link)
    assert answer.headers["location"] == f"{SIGN_IN}?notice=password" and not elsewhere.signed_in and not browser.signed_in
    assert post.crowd.browser().sign_in(name).status_code == 400
    post.crowd.browser().entered(name, NEW)


def test_by_mail_address(post: Post) -> None:
    """Whoever does not remember the name gives the mail address, in any case."""
    name, browser = post.crowd.user(), post.crowd.browser()
    ask(browser, f"{name}@EXAMPLE.org")
    assert choose(browser, post.link()).status_code == 303
    browser.entered(name, NEW)


def test_a_link_counts_once(post: Post) -> None:
    """A link sets nothing that was used, or that is half an hour old, or beside which another one was used."""
    name, browser = post.crowd.user(), post.crowd.browser()
    ask(browser, name)
    first = post.link()
    ask(browser, name)
    second = post.link()
    assert browser.get(first).status_code == 200, "a stranger who asks made it good for nothing"
    page = browser.get(second)
    assert browser.get(second).status_code == 200, "looking at it used it up"
    assert browser.send(page, CHOOSE, password=NEW).status_code == 303
    assert browser.get(first).status_code == 400
    again = browser.send(page, CHOOSE, password="something else again")
    assert again.status_code == 400 and "used already" in said(again)
    post.crowd.clock.later(10)
    ask(browser, name)
    third, _ = post.link(), post.crowd.clock.later(31 * 60)
    assert "too old" in said(browser.get(third))
    browser.entered(name, NEW)


def test_links_of_one_user_have_a_bound(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for, the newest few are good."""
    monkeypatch.setattr(reset, "MOST", 3)
    name, browser = post.crowd.user(), post.crowd.browser()
    links = []
    for _ in range(5):
        ask(browser, name)
        links.append(post.link())
        post.crowd.clock.later(10)
    assert [browser.get(link).status_code for link in links] == [400] * 2 + [200] * 3


def test_a_link_ends_with_a_change_of_the_password(post: Post) -> None:
    """Once the password is changed otherwise, links that are on their way set nothing."""
    name, browser = post.crowd.user(), post.crowd.browser()
    ask(browser, name)
    link = post.link()
    account = browser.entered(name).get("/account")
    assert browser.send(account, "/account/password", current=PASSWORD, password=NEW).status_code == 303
    assert browser.get(link).status_code == 400


def test_a_link_with_a_password_that_may_not_be_chosen(post: Post) -> None:
    """A refused password does not use the link up."""
    name, browser = post.crowd.user(), post.crowd.browser()
    ask(browser, name)
    link = post.link()
    refused = choose(browser, link, "short")
    assert (refused.status_code, said(refused)) == (400, "The password is shorter than 12 characters.")
    assert choose(browser, link).status_code == 303


@pytest.mark.parametrize("token", ["x", "x" * 43, "x" * 5_000, "'--", "\u00e4", "a\x00b"])
def test_links_that_were_made_up(post: Post, token: str) -> None:
    """A link that was never sent is treated like one that is too old."""
    browser = post.crowd.browser()
    assert browser.get(ASK, token=token).status_code == 400
    csrf = Found(browser.get(SIGN_IN).text).fields(SIGN_IN)["csrf"]
    assert browser.post(CHOOSE, {"csrf": csrf, "token": token, "password": NEW}).status_code == 400


def test_nobody_learns_who_has_an_account(post: Post) -> None:
    """The answer is the same for names and addresses that nobody has; only the owner gets mail."""
    answers = []
    for text in (post.crowd.user(), "nobody", "nobody@example.org", "a@b\r\nBcc: everybody@example.org"):
        browser = post.crowd.browser()
        answer = ask(browser, text)
        answers.append((answer.status_code, answer.text, sorted(browser.cookies())))
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == 200
    post.link()
    assert post.settled() == post.seen, [mail["To"] for mail in post.inbox.mails[post.seen :]]


def test_mail_cannot_be_sent_for_ever(post: Post) -> None:
    """After three links for one name the next has to wait; so it is for names that nobody has."""
    for name in (post.crowd.user(), "nobody there"):
        assert [ask(post.crowd.browser(), name).status_code for _ in range(4)] == [200, 200, 200, 429]
    for _ in range(3):
        post.link()


def test_changes_are_told(post: Post) -> None:
    """A new password and every change of the second factors is told by mail to the user, without anything secret."""
    name, browser = post.crowd.user(), post.crowd.browser()
    ask(browser, name)
    choose(browser, post.link())
    told = [post.next()]
    browser.entered(name, NEW)
    browser.send(browser.get("/account"), "/account/password", current=NEW, password=PASSWORD)
    told.append(post.next())
    page = browser.get("/account/second-factor")
    key = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page.text)
    assert key is not None
    secret = key.group(1).replace(" ", "")
    codes = browser.send(page, "/account/second-factor", otp=pyotp.TOTP(secret).at(post.crowd.clock.seconds))
    told.append(post.next())
    browser.send(browser.get("/account"), "/account/recovery-codes")
    told.append(post.next())
    browser.send(browser.get("/account"), "/account/second-factor/remove", factor="totp")
    told.append(post.next())
    assert {mail["To"] for mail in told} == {f"{name}@example.org"}
    assert [text_of(mail).splitlines()[0] for mail in told] == [
        "Your password was set anew with the link that you were sent.",
        "Your password was changed.",
        "A second factor was added: authenticator app.",
        "Your recovery codes were renewed.",
        "A second factor was removed: authenticator app.",
    ]
    secrets = [secret, PASSWORD, NEW, *re.findall(r"[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}", codes.text)]
    assert len(secrets) == 13 and not any(each in text_of(mail) for each in secrets for mail in told)


def test_who_was_kept_out_comes_in_by_mail(post: Post) -> None:
    """Somebody else's guesses do not keep the owner out: who has the mail signs in at once."""
    name, browser = post.crowd.user(), post.crowd.browser()
    while post.crowd.browser().sign_in(name, "wrong").status_code == 400:
        pass
    ask(browser, name)
    choose(browser, post.link())
    browser.entered(name, NEW)


def test_mail_brings_no_more_tries_at_the_second_factor(post: Post) -> None:
    """However many links somebody has who reads the user's mail: wrong codes count as for any other browser, and so do further links."""
    name, thief = post.crowd.user(), post.crowd.browser()
    owner = post.crowd.browser().entered(name)
    page = owner.get("/account/second-factor")
    key = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page.text)
    assert key is not None
    app = pyotp.TOTP(key.group(1).replace(" ", ""))
    assert owner.send(page, "/account/second-factor", otp=app.at(post.crowd.clock.seconds)).status_code == 200
    tries = list[int]()
    for _ in range(3):
        ask(thief, name)
        assert choose(thief, post.link()).status_code == 303
        assert thief.sign_in(name, NEW).headers["location"] == PROVE
        for _ in range(4):
            tries.append(thief.send(thief.get(PROVE), PROVE, otp="000000").status_code)
    asked = [ask(thief, name).status_code for _ in range(2)]
    assert tries.count(400) == FREE and tries[-1] == asked[-1] == 429


def test_without_a_mail_server(crowd: People) -> None:
    """Where no mail can be sent the page says whom to ask; asking all the same changes nothing."""
    browser = crowd.browser()
    assert "Ask whoever runs it" in browser.get(ASK).text
    csrf = Found(browser.get(SIGN_IN).text).fields(SIGN_IN)["csrf"]
    answer = browser.post(ASK, {"csrf": csrf, "username": "user0"})
    assert answer.status_code == 200 and "Ask whoever runs it" in answer.text


def test_a_mail_server_that_is_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is the same, and the log says that mail fails, without saying whose."""
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        with people(tmp_path / "down", 1, needing=0, smtp_url=f"smtp://127.0.0.1:{nobody.getsockname()[1]}") as made:
            assert DONE in ask(made.browser(), "user0").text
            deadline = time.monotonic() + 60
            while "a mail could not be sent" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert "user0" not in caplog.text and PASSWORD not in caplog.text


def test_a_mail_server_with_a_password(tmp_path: Path) -> None:
    """User and password of the URL, with what is encoded in them, are what the mail server is told."""
    told: list[Any] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        told.append(data)
        return AuthResult(success=True)

    options = {"auth_require_tls": False, "authenticator": authenticate}
    with MailServer(inbox := Inbox(), **options) as server:
        url = f"smtp://me%40clinic:p%3Aw@127.0.0.1:{server.port}"
        with people(tmp_path / "guarded", 1, needing=0, smtp_url=url) as made:
            ask(made.browser(), "user0")
            Post(made, inbox).link()
    assert [(each.login, each.password) for each in told] == [(b"me@clinic", b"p:w")]


@pytest.mark.parametrize("url", ["http://mail", "mail:25", "smtp://", "smtp:mail"])
def test_settings_that_are_no_mail_server(url: str) -> None:
    """A mail server that cannot be one stops the start."""
    with pytest.raises(ValueError, match="a mail server is smtp://"):
        SignInSettings(smtp_url=url)
