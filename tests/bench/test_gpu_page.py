"""The page of GPU figures says what the committed results say."""

from __future__ import annotations

from benchmarks.gpu.document import PAGE, page


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m benchmarks.gpu.document"
