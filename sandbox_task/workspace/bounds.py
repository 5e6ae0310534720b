"""How much an archive may hold beside what a session's own limit says. What is packed can be unpacked."""

MOST_DEPTH = 5000
MOST_PATH = 32 * 1024
"""Bytes of one path."""
MOST_NAMES = 64 * 2**20
"""Bytes of all paths, and of what links lead to."""
MOST_LINK = 4095
"""Bytes of a link's target, which is what Linux takes."""


class Excess(Exception):
    """Something is larger than it may be; the text is for the user."""


def readable(size: int) -> str:
    """Bytes as people say them."""
    amount, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        del units[0]
    return f"{amount:.0f} bytes" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def shown(path: str, most: int = 200) -> str:
    """A path, quoted, for a message; shortened, and without characters that are none."""
    return ascii(path if len(path) <= most else f"{path[:most]}…")


TOO_MANY_NAMES = f"The paths of all files and folders together have more than {readable(MOST_NAMES)}."
