"""How a student can stand before exercise 21. No worker runs: the check starts its own."""

SENDER, RECEIVER = "callback.py", "receiver.py"
SIGNED = '"webhook-signature": Webhook(SECRET).sign(event, now, body)'
LATER = "2**number * random.uniform(1, 2)"
GONE = "    if said == httpx.codes.GONE:\n"
VERIFIED = "event = Webhook(SECRET).verify(body, headers)"


def stub(student):
    student.hand_out()


not_linked = stub


def reference(student):
    student.solve()


def no_packages(student):
    """They are installed here, so the file says what Python says without them."""
    student.solve()
    student.edit(SENDER, "import json\n", "raise ModuleNotFoundError(\"No module named 'standardwebhooks'\")\n")


def not_importable(student):
    student.solve()
    student.edit(SENDER, "deliver.s(url)", "deliver.si(ulr)")


def nothing_posted(student):
    """The arguments of deliver are in another order than those with which Celery calls it."""
    student.solve()
    student.edit(SENDER, "def deliver(self, told, url,", "def deliver(self, url, told,")


def not_signed(student):
    student.solve()
    student.edit(SENDER, f"        {SIGNED},\n", "")


def other_bytes(student):
    """httpx writes JSON itself, without spaces."""
    student.solve()
    student.edit(SENDER, "content=body, ", "json=json.loads(body), ")


def told_as_success(student):
    student.solve()
    student.edit(SENDER, "deliver.s(url, failed=True)", "deliver.s(url)")


def gives_up(student):
    student.solve()
    student.edit(SENDER, "raise self.retry(exc=NotDelivered(", "raise (NotDelivered(")
    student.edit(SENDER, "), countdown=later)", "))")


def new_id(student):
    student.solve()
    student.edit(SENDER, "event, number = self.request.parent_id,", "event, number = str(uuid.uuid4()),")
    student.edit(SENDER, "import sys\n", "import sys\nimport uuid\n")


def old_time(student):
    student.solve()
    student.edit(
        SENDER, "def deliver(self, told, url, failed=False):", "def deliver(self, told, url, failed=False, at=0):"
    )
    student.edit(
        SENDER, "now = datetime.now(UTC)", "now = datetime.fromtimestamp(at, UTC) if at else datetime.now(UTC)"
    )
    student.edit(SENDER, "countdown=later)", "countdown=later, kwargs={'failed': failed, 'at': now.timestamp()})")


def no_backoff(student):
    student.solve()
    student.edit(SENDER, LATER, "0")


def never_ends(student):
    student.solve()
    student.edit(SENDER, "max_retries=7", "max_retries=None")


def retries_gone(student):
    student.solve()
    student.edit(SENDER, GONE, "    if said == 418:\n")


def follows_redirect(student):
    student.solve()
    student.edit(SENDER, "timeout=15)", "timeout=15, follow_redirects=True)")


def calls_loopback(student):
    student.solve()
    student.edit(SENDER, "return public or ", "return address.version or ")


def reads_the_name(student):
    """It looks at the text of the URL."""
    student.solve()
    student.edit(SENDER, "for *_, (address, *_) in answers if may_call(address)]", "for *_, (address, *_) in answers]")
    student.edit(SENDER, "    if not addresses:", '    if url.host.startswith("127.") and url.host != "127.0.0.1":')


def looks_up_twice(student):
    """It checks the address, and lets httpx look the name up again."""
    student.solve()
    student.edit(SENDER, "there = url.copy_with(host=addresses[number % len(addresses)])", "there = url")


def other_host(student):
    student.solve()
    student.edit(SENDER, 'headers | {"Host": url.netloc.decode()}', "headers")


def receiver_away(student):
    student.solve()
    student.edit(RECEIVER, "port=int(sys.argv[1])", "port=0")


def refuses_good(student):
    """It verifies what it has parsed, and written again."""
    student.solve()
    student.edit(RECEIVER, "await request.body()", "str(await request.json())")


def takes_forged(student):
    student.solve()
    student.edit(RECEIVER, VERIFIED, "event = await request.json()")


def fails_at_forged(student):
    student.solve()
    student.edit(RECEIVER, "except (WebhookVerificationError, ValueError):", "except WebhookVerificationError:")


def takes_old(student):
    """A library of their own, which looks at the signature alone."""
    student.solve()
    student.edit(RECEIVER, VERIFIED, "event = Timeless(SECRET).verify(body, headers)")
    timeless = "from datetime import UTC, datetime\n\n\nclass Timeless(Webhook):\n"
    timeless += "    def _Webhook__verify_timestamp(self, text):\n"
    timeless += "        return datetime.fromtimestamp(int(text), UTC)\n\n\napp = FastAPI()\n"
    student.edit(RECEIVER, "app = FastAPI()\n", timeless)


def counts_twice(student):
    student.solve()
    student.edit(RECEIVER, 'seen.add(headers["webhook-id"])', "seen.add(request)")
