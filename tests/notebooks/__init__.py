"""The notebooks run, and say today what they said when they were written."""
