"""Text comes piece by piece and is the same as if it had come at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workloads.serving.text import Detokenizer, StopFilter


def _decode_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def _decode_like_sentencepiece(ids: list[int]) -> str:
    words = ["▁one", "▁two", "s", "!"]
    return "".join(words[each] for each in ids).replace("▁", " ").removeprefix(" ")


@given(st.text())
def test_pieces_of_bytes_join_to_the_text_and_no_character_is_broken(text: str) -> None:
    detokenizer = Detokenizer(_decode_bytes)
    pieces = [detokenizer.add(byte) for byte in text.encode()]
    assert "".join(pieces) == text.replace("\ufffd", "") or "\ufffd" in text
    assert "".join(pieces) + detokenizer.finish() == text


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_are_replaced_and_never_lost_or_refused(raw: bytes) -> None:
    detokenizer = Detokenizer(_decode_bytes)
    pieces = "".join(detokenizer.add(byte) for byte in raw) + detokenizer.finish()
    readable = raw.decode("utf-8", errors="replace")
    assert pieces.replace("\ufffd", "") == readable.replace("\ufffd", "")


@given(st.lists(st.integers(0, 3)))
def test_spaces_between_words_survive_a_decoder_that_drops_the_first(ids: list[int]) -> None:
    detokenizer = Detokenizer(_decode_like_sentencepiece)
    pieces = "".join(detokenizer.add(each) for each in ids) + detokenizer.finish()
    assert pieces == _decode_like_sentencepiece(ids)


@given(
    st.lists(st.text(alphabet="abc", max_size=4), max_size=12),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
)
def test_a_stop_text_ends_the_answer_however_the_text_is_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    filtered = StopFilter(stops)
    shown = "".join(filtered.add(piece) for piece in pieces) + filtered.finish()
    assert filtered.stopped == bool(found)
    if found:
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
        assert any(text.startswith(shown + stop) for stop in stops)
    else:
        assert shown == text


def test_text_that_can_not_begin_a_stop_text_is_not_held_back() -> None:
    filtered = StopFilter(["END"])
    assert filtered.add("one E") == "one "
    assert filtered.add("asy") == "Easy"
    assert filtered.add(" EN") == " "
    assert filtered.add("D more") == ""
    assert filtered.stopped
    assert filtered.add("more") == filtered.finish() == ""
