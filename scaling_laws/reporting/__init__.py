"""One HTML file that a manager can read and a reviewer can check.

`findings` fits and asks, `replay` and `served` hold what the panel repeats and reads, `sections`
says it in HTML, `page` puts it together.
"""

from scaling_laws.reporting.document import Report, report

__all__ = ["Report", "report"]
