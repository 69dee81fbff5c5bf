"""What a log of distillation runs says: ``python -m experiments.findings LOG [--out DIR]``.

`parts` splits the log, `noise` measures a run's scatter and the side arms, `laws` fits and holds
out, `retention` and `claims` ask, `rule` answers, and `sections` puts all of it into words, tables
and figures.
"""
