"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from workloads.report import formats

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"), (0.42, "0.42 s"), (9.996, "10.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
        (185, "3 min 05 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"),
        (86_399, "1 d 00 h"), (360_000, "4 d 04 h"),
    ],
)  # fmt: skip
def test_a_duration_reads_well_at_every_length(seconds: float, text: str) -> None:
    assert formats.duration(seconds).replace(SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (60, "60"), (10_000, "10,000"), (0.12345, "0.1235"), (0.0029212, "0.002921"), (12.3, "12.3"),
        (-3.98, "-3.98"), (5e-05, "5e-05"),
        (1234.56, "1,234.6"), (2.5e7 + 0.5, "2.5e+07"), (100.04, "100"),
    ],
)  # fmt: skip
def test_a_figure_has_about_four_digits(value: float, text: str) -> None:
    assert formats.figure(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (512, "512 B"), (1_400_000, "1.4 MB"), (999_600, "1 MB"), (3.2e15, "3,200 TB")]
)
def test_sizes_are_in_powers_of_1000(count: float, text: str) -> None:
    assert formats.size(count).replace(SPACE, " ") == text


def test_fractions_are_percentages_and_their_changes_points() -> None:
    assert formats.metric_value("exact_match", 0.965) == f"96.5{SPACE}%"
    assert formats.metric_change("exact_match", -0.015) == f"\N{MINUS SIGN}1.5{SPACE}points"
    assert formats.metric_value("loss", 0.12) == "0.12"
    assert formats.metric_change("loss", 0.01) == "+0.01"
