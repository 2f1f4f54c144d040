"""How far lists of runs are read for one answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

import pytest

from sojourn.cli import confirming
from sojourn.cli.run_pages import MOST, SIZE, pages
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response


class Listed:
    """Answers with pages of so many runs, one after the other; `asked`: each page's size and where it begins."""

    def __init__(self, lengths: Sequence[int]):
        self.lengths = lengths
        self.asked: list[tuple[int, str | None]] = []

    def client(self) -> Client:
        return Client("http://api.test", "tr_dev_x", transport=self._answer)

    def _answer(self, request: Request) -> Response:
        query = dict(parse_qsl(urlsplit(request.path).query))
        self.asked.append((int(query["page[size]"]), query.get("page[after]")))
        number = len(self.asked)
        ends = {"next": f"after_{number}"} if number < len(self.lengths) else {}
        told = {"data": [{"id": f"run_{n}"} for n in range(self.lengths[number - 1])], "pagination": ends}
        return Response(200, {}, json.dumps(told).encode())


def test_what_a_page_lacks_is_asked_of_the_next_one() -> None:
    listed = Listed([3, 0, 4, 9])
    assert [len(page["data"]) for page in pages(listed.client(), {"page[after]": "here"}, 7)] == [3, 0, 4]
    assert listed.asked == [(7, "here"), (4, "after_1"), (4, "after_2")]


def test_a_list_is_read_to_its_end_and_a_long_one_for_a_while() -> None:
    listed = Listed([2, 1])
    assert len(list(pages(listed.client(), {}, 1_000))) == 2
    assert listed.asked == [(SIZE, None), (SIZE, "after_1")]
    listed = Listed([0] * (MOST + 5))
    assert len(list(pages(listed.client(), {}, 1))) == MOST == len(listed.asked)


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ([0], "0 runs"),
        ([0, 1], "1 run"),
        ([SIZE, 3], "103 runs"),
        ([SIZE] * MOST, "2000 runs"),
        ([SIZE] * (MOST + 1), "more than 2000 runs"),
        ([0] * (MOST + 1), "runs (how many is not known soon)"),
    ],
)
def test_runs_that_a_question_is_about_are_counted_for_a_while(lengths: list[int], told: str) -> None:
    assert confirming._counted(Listed(lengths).client(), {}) == told
