"""Numbers with their units, as a person reads them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`number` and the English `noun` that it counts: "1 line", "2,000 lines"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """A `number` of bytes, with three digits and a decimal prefix from 1,000 on: "640 B", "1.25 MB"."""
    return f"{number:.0f} B" if number < 999.5 else _scaled(number / 1e3, ("kB", "MB", "GB", "TB", "PB", "EB"))


def duration(seconds: float) -> str:
    """`seconds` with three digits: "16 µs", "1.05 ms", "131 s"."""
    return f"{seconds:,.0f} s" if seconds >= 999.5 else _scaled(seconds * 1e6, ("µs", "ms", "s"))


def _scaled(number: float, units: tuple[str, ...]) -> str:
    """`number`, which is in the first of the `units`, in one that leaves less than 1,000. Each is 1,000 of the last."""
    unit = 0
    while number >= 999.5 and unit < len(units) - 1:
        number, unit = number / 1000, unit + 1
    return f"{float(f'{number:.3g}'):,g} {units[unit]}"
