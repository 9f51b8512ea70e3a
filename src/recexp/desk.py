"""Hydra's complaints, in one line: what was asked, what there is, what to type."""

from __future__ import annotations

from collections.abc import Sequence


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """One message for an error of composition."""
    return str(error)
