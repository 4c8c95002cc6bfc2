"""What a command left in a folder, as a page and as a few lines of text."""

from sent_rl.report.benchmarks import write_benchmarks
from sent_rl.report.page import write_report
from sent_rl.report.tables import results_heading, results_lines, summary

__all__ = ["results_heading", "results_lines", "summary", "write_benchmarks", "write_report"]
