"""All commands. To import this file is to fill the table: each file below enters its own commands."""

from __future__ import annotations

from . import connection, hashes, keys, lists, publishing, sets, sorted_sets, strings, transactions
from .table import COMMANDS, answer

FILES = (connection, hashes, keys, lists, publishing, sets, sorted_sets, strings, transactions)

__all__ = ["COMMANDS", "FILES", "answer"]
