"""Values of filters, from the SDK's list to the store's and back: each whole, whatever is in it."""

from __future__ import annotations

from urllib.parse import urlencode

import falcon
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.api.filter_values import texts, values, words_of
from sojourn.control_plane.api.problems import Problem
from sojourn.sdk import filter_words

WORDS = st.lists(st.text(st.sampled_from("ab ,%&=\n🙂"), min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=4)


@given(WORDS)
def test_a_list_arrives_as_it_is(words: list[str]) -> None:
    query = urlencode({"filter[tag]": filter_words.parameter(words, "tag")}, doseq=True)
    params = falcon.uri.parse_query_string(query, keep_blank=True, csv=False)
    arrived = params["filter[tag]"]
    assert set(words_of(arrived)) == set(words)
    assert texts(arrived, "filter[tag]") == list(dict.fromkeys(words_of(arrived)))
    assert set(filter_words.words(arrived, "tag")) == set(words)


def test_a_text_is_taken_apart_at_its_commas() -> None:
    assert words_of("a, b,,c ") == ["a", " b", "c "]
    assert words_of(["a, b", " ", "c"]) == ["a, b", "c"]
    assert words_of(None) == texts(None, "f") == []
    assert values("A, B ,A ", "f") == ["A", "B"]


@pytest.mark.parametrize("given", [",", " , ", [" ", ""], ",".join(map(str, range(101))), "a," * 101])
def test_what_is_refused(given: str | list[str]) -> None:
    with pytest.raises(Problem) as caught:
        texts(given, "filter[tag]")
    assert caught.value.field == "filter[tag]"
