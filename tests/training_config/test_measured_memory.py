"""The memory estimate against the peaks that are committed with the GPU benchmark."""

from __future__ import annotations

from benchmarks.gpu.results import peaks


def test_nine_of_ten_are_within_ten_percent_and_none_is_far_under() -> None:
    found = peaks()
    assert len(found) >= 24
    assert sum(abs(peak.off) <= 0.1 for peak in found) >= 0.9 * len(found)
    assert min(peak.off for peak in found) >= -0.05
