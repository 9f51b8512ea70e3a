"""The one exception that means: the user asked for something that cannot be done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RecexpError(Exception):
    """A bad config, a bad file or an impossible wish: printed without a traceback, exit status 2.

    The message says what was asked, what was found, what is allowed, and what to type.
    """


def nearest(name: str, allowed: Iterable[str]) -> list[str]:
    """All allowed names, those that look most like `name` first."""
    return sorted(allowed, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())
