"""`logger` and the standard library's logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.sdk import log_handler
from sojourn.sdk import logger as loggers
from sojourn.sdk.logger import logger


def test_lines_keep_message_and_properties_apart(lines: Any) -> None:
    logger.debug("a")
    logger.log("b")
    logger.info("c", amount=12, message="a property may have any name")
    logger.warn("d")
    logger.warning("e")
    logger.error(ValueError("f"))
    assert lines == [
        ("DEBUG", "a", None),
        ("LOG", "b", None),
        ("INFO", "c", {"amount": 12, "message": "a property may have any name"}),
        ("WARN", "d", None),
        ("WARN", "e", None),
        ("ERROR", "f", None),
    ]


def test_outside_a_run_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("charged", amount=12, to="Ada")
    assert capsys.readouterr() == ("", "INFO  charged amount=12 to='Ada'\n")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    yield root
    root.setLevel(level)


def test_logging_goes_to_the_runs_log(lines: Any, root: logging.Logger) -> None:
    handler = loggers.RunHandler()
    log_handler.install(handler)
    try:
        logging.getLogger("shop").info("%d sold", 3)
        logging.getLogger("shop").debug("not told")
        logging.getLogger("shop").critical("empty")
    finally:
        log_handler.remove(handler)
    assert lines == [("INFO", "3 sold", {"logger": "shop"}), ("ERROR", "empty", {"logger": "shop"})]


def test_a_level_that_the_project_set_is_left(root: logging.Logger) -> None:
    root.setLevel(logging.ERROR)
    handler = loggers.RunHandler()
    log_handler.install(handler)
    log_handler.remove(handler)
    assert root.level == logging.ERROR
