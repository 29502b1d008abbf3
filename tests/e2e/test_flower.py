"""Flower's pages and RabbitMQ's dashboard in a browser, as a student sees them."""

import re
import shutil

import pytest
from conftest import AWKWARD, free_port
from playwright.sync_api import expect, sync_playwright

from e2e.student import RABBITMQ, Student, eventually, require

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.xdist_group("flower")
expect.set_options(timeout=20_000)  # milliseconds; the pages refresh every 5 s


@pytest.fixture(scope="module")
def page():
    require("Chromium", CHROMIUM)
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A whole lab on a RabbitMQ of its own, in which 12 predictions of 3 s were asked for: more than 10 processes."""
    require("RabbitMQ", RABBITMQ)
    student = Student(
        tmp_path_factory.mktemp(f"flower {AWKWARD}"), f"amqp://myuser:mypassword@localhost:{free_port()}//"
    )
    try:
        terminal = student.open("make", "lab", PREDICT_SECONDS="3", AUTOSCALE_KEEPALIVE="60")
        student.dashboard = terminal.see("dashboard +(http://\\S+)")[1]
        terminal.see("Enter a message:")
        yield student
        terminal.sendline("exit")
        terminal.left()
    finally:
        student.close()


def test_the_worker_is_online(lab, page):
    student = lab
    page.goto(f"{student.flower}/workers")
    row = page.locator("#workers-table tbody tr").filter(has_text="lab@")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Online")


def test_a_burst_shows_as_tasks_with_their_states_and_as_10_processes(lab, page):
    student = lab
    bad = student.app.send_task("my_ml_app.predict", ["just text"]).id
    good = [student.ask(f"message {number}").id for number in range(12)][0]

    def shown(task, state):
        page.goto(f"{student.flower}/tasks", wait_until="networkidle")  # the page does not refresh itself
        row = page.locator("#tasks-table tbody tr").filter(has_text=task)
        return re.search(f"my_ml_app.predict.*{state}", "".join(row.all_inner_texts()), re.DOTALL)

    eventually(lambda: shown(bad, "FAILURE"), "Flower shows the failure")
    eventually(lambda: shown(good, "SUCCESS"), "Flower shows the success")
    page.goto(f"{student.flower}/worker/{worker_name(student)}")
    expect(page.get_by_role("row", name=re.compile(r"^Processes (\d+, ){9}\d+$"))).to_be_visible()
    expect(page.get_by_role("row", name="Current 10")).to_be_visible()


def worker_name(student):
    return next(iter(student.app.control.ping(timeout=1)[0]))


def test_the_broker_page_has_the_queue(lab, page):
    student = lab
    page.goto(f"{student.flower}/broker")
    expect(page.locator("table tbody tr").filter(has_text=re.compile(r"^\s*celery\s"))).to_have_count(1)


def test_rabbitmqs_dashboard_shows_the_queue_and_its_consumer(lab, page):
    student = lab
    page.goto(student.dashboard)
    page.locator("input[name=username]").fill("myuser")
    page.locator("input[name=password]").fill("mypassword")
    page.locator("input[type=submit]").click()
    expect(page.locator("#logout")).to_be_visible()
    page.goto(f"{student.dashboard}/#/queues/%2F/celery")
    expect(page.locator("#main")).to_contain_text(re.compile(r"Queue\s+celery"))
    expect(page.locator("#main")).to_contain_text(re.compile(r"Consumers \(1\)"))
