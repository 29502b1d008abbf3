"""The Compose files of tests/unit/test_compose.py, read by Docker's own command line: the check says the same."""

import shutil

import pytest
from unit.test_compose import (  # noqa: F401
    check_10,
    test_check_10_accepts_what_compose_accepts,
    test_check_10_says_that_a_tag_is_missing_and_passes,
    test_check_10_says_what_is_wrong,
)

from e2e.student import require


@pytest.fixture
def docker():
    """The real one."""
    require("Docker's command line", shutil.which("docker"))
