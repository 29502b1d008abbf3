"""Exercise 22: what a page on another origin can do with Flower's API, in a browser."""

import http.server
import shutil
import threading
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
from conftest import ROOT
from playwright.sync_api import expect

from e2e.student import eventually
from e2e.test_flower import page  # noqa: F401 - a fixture

PAGE = ROOT / "exercises/22_flower_api/stub/website"
SOLUTION = ROOT / "exercises/22_flower_api/solution/flower_api.py"
pytestmark = pytest.mark.xdist_group("flower")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Echo(Quiet):
    """Wants a password, and keeps what came."""

    def do_GET(self):  # noqa: N802 - the library's name
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.server.came.append(self.headers)
        self.send_response(200 if self.headers["authorization"] else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="flower"')
        self.end_headers()

    do_POST = do_GET  # noqa: N815


@contextmanager
def serving(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.came = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def flower(student, *options, **env):
    terminal = student.open("celery", "-A", "my_ml_app", "flower", *options, **env)
    terminal.see("Visit me at")
    terminal.unwatched()


def press(page, host, port, target):  # noqa: F811
    """What somebody else's page says when both buttons were pressed."""
    page.goto(f"http://{host}:{port}/page.html")
    page.locator("#flower").fill(target)
    for number, button in enumerate(("#json", "#text"), 1):
        page.locator(button).click()
        eventually(lambda number=number: page.locator("#said").inner_text().count("\n") >= number, "the page says it")
    return page.locator("#said").inner_text().splitlines()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # the same site as Flower, and another one
def test_with_a_password_another_page_sends_nothing(with_valkey, page, host):  # noqa: F811
    student = with_valkey
    shutil.copy(SOLUTION, student.path)
    flower(student, "--conf=flower_api.py")
    assert httpx.get(f"{student.flower}/metrics", trust_env=False).is_success
    page.goto(student.flower.replace("//", "//me:secret@") + "/workers")  # from now on, the browser knows it
    expect(page.locator("#workers-table")).to_be_visible()
    with serving(partial(Quiet, directory=PAGE)) as server:
        said = press(page, host, server.server_port, student.flower)
    assert said == ["the browser: Failed to fetch", "posted; the browser hides the answer"]
    assert student.messages() == []


def test_an_open_api_obeys_every_page(with_valkey, page):  # noqa: F811
    student = with_valkey
    flower(student, "--address=127.0.0.1", FLOWER_UNAUTHENTICATED_API="true")
    with serving(partial(Quiet, directory=PAGE)) as server:
        said = press(page, "127.0.0.1", server.server_port, student.flower)
    assert said[0].startswith('200 {"task-id": ')
    assert said[1] == "posted; the browser hides the answer"
    assert student.messages() == ["Is it from somebody else's page?"] * 2


def test_the_browser_adds_the_password_to_a_post_from_another_port(page):  # noqa: F811
    """So what refuses it is Flower, which looks at Sec-Fetch-Site."""
    with serving(partial(Quiet, directory=PAGE)) as server, serving(Echo) as api:
        target = f"localhost:{api.server_port}"
        page.goto(f"http://me:secret@{target}/")
        del api.came[:]
        press(page, "localhost", server.server_port, f"http://{target}")
    post = api.came[-1]
    assert (post["authorization"], post["sec-fetch-site"]) == ("Basic bWU6c2VjcmV0", "same-site")
    assert post["content-type"].startswith("text/plain")
