"""One HTML file that a manager can read and a reviewer can check.

`findings` fits and asks, `lattice` and `served` compute beforehand what the panel reads, `sections`
says it in HTML, `page` puts it together.
"""

from scaling_laws.reporting.document import Report, report

__all__ = ["Report", "report"]
