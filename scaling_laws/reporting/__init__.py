"""The report: one HTML file that a manager can read and a reviewer can check."""
