"""What people and machines read of a climb: the terminal, report.html and decision.json."""

from __future__ import annotations

from .compare import Comparison, compare_runs, compare_text
from .html import decision_html, write_report
from .live import LiveLadder
from .record import SCHEMA, decision_record, decision_schema, load_decision_record
from .terminal import plan_text, record_text, summary_table, verdict_text

__all__ = [
    "SCHEMA",
    "Comparison",
    "LiveLadder",
    "compare_runs",
    "compare_text",
    "decision_html",
    "decision_record",
    "decision_schema",
    "load_decision_record",
    "plan_text",
    "record_text",
    "summary_table",
    "verdict_text",
    "write_report",
]
