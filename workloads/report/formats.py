"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that no line ends between them."""
_FRACTIONS = ("exact_match", "rouge1", "rougeL", "preference_accuracy")
_LABELS = {
    "loss": "Loss",
    "perplexity": "Perplexity",
    "exact_match": "Exact match",
    "rouge1": "ROUGE-1",
    "rougeL": "ROUGE-L",
    "preference_accuracy": "Preference accuracy",
}


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 03 min`` or ``4 d 05 h``."""
    if seconds < 9.995:
        return f"{seconds:.2f}{_SPACE}s"
    if seconds < 59.95:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min{_SPACE}{whole % 60:02d}{_SPACE}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}{_SPACE}h{_SPACE}{minutes % 60:02d}{_SPACE}min"
    hours = round(seconds / 3600)
    return f"{hours // 24}{_SPACE}d{_SPACE}{hours % 24:02d}{_SPACE}h"


def short_duration(seconds: float) -> str:
    """A round duration for an axis: ``0``, ``0.5 s``, ``20 s``, ``1 min 30 s``, ``2 h``."""
    if seconds < 60:
        return f"{seconds:g}{_SPACE}s" if seconds else "0"
    whole = round(seconds)
    parts = (whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s")
    return _SPACE.join(f"{count}{_SPACE}{unit}" for count, unit in parts if count)


def moment(seconds: float) -> str:
    """A time since the epoch as ``2026-01-31 13:05:09 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float) -> str:
    """Bytes as ``512 B``, ``1.4 MB`` or ``16 GB``, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g}{_SPACE}{unit}"
        count /= 1000
    return f"{figure(count)}{_SPACE}TB"


def figure(value: float) -> str:
    """A number with about four significant digits: ``0.1235``, ``12.3``, ``10,000``, ``5e-05``."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e-4 <= abs(value) < 1:
        return f"{value:.4g}"
    if 1 <= abs(value) < 1e6:
        digits = f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"
        return digits.rstrip("0").rstrip(".")
    return f"{value:.3g}"


def metric_label(name: str) -> str:
    """A metric's name for a heading; names that are not known stay as they are."""
    return _LABELS.get(name, name)


def metric_value(name: str, value: float) -> str:
    """A metric as a percentage where it is a fraction of something, else as a number."""
    return f"{value * 100:.1f}{_SPACE}%" if name in _FRACTIONS else figure(value)


def metric_change(name: str, change: float) -> str:
    """A signed difference of two values of a metric; of fractions in percentage points."""
    sign = "+" if change > 0 else "\N{MINUS SIGN}" if change < 0 else "\N{PLUS-MINUS SIGN}"
    amount = f"{abs(change) * 100:.1f}{_SPACE}points" if name in _FRACTIONS else figure(abs(change))
    return f"{sign}{amount}"
