"""Figures as aligned text."""

import math
import sys
from collections.abc import Sequence
from statistics import median

__all__ = ["heading", "median", "ms", "percentile", "table"]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not pass (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def ms(seconds: float) -> str:
    """Seconds as milliseconds, with three digits that count."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if abs(value) >= 100 else f"{value:.1f} ms"


def heading(title: str, *notes: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")
    for note in notes:
        print(note)
    sys.stdout.flush()


def table(rows: Sequence[Sequence[str]]) -> None:
    """The first row names the columns; the first column is text, the others are figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "   ".join(cells).rstrip())
