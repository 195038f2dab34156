"""The page that tells the story of one run.

::

    source     the run directory, read tolerantly
    timeline   the event log as stretches of work, stops and a state
    costs      where the time went
    curves     logged numbers as lines
    chart      lines as geometry
    sections   evaluation, samples, history and lineage as rows
    page       all of it as HTML
"""

from workloads.report.page import write_report

__all__ = ["write_report"]
