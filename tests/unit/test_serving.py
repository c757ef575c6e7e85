"""What the server asks of the system."""

import resource
from collections.abc import Iterator

import pytest

from app.serving import MOST_OPEN_FILES, allow_open_files


@pytest.fixture
def few_files() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_may_open_more_files_than_it_began_with(few_files: int) -> None:
    allow_open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == few_files
    assert soft == (MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)) > 512
