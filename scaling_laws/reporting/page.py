"""The whole page: one file, no request, nothing run but its own script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files

from scaling_laws.reporting.findings import Findings
from scaling_laws.reporting.markup import json_text
from scaling_laws.reporting.panel import payload
from scaling_laws.reporting.sections import sections
from scaling_laws.version import VERSION

__all__ = ["page_of"]


def page_of(found: Findings, title: str) -> str:
    """Return the page.

    Its policy forbids every request, and every script whose hash is not that of `panel.js`: a name
    in the log could do nothing even if it were not escaped.
    """
    script, style = _text("panel.js"), _text("page.css")
    shown = list(sections(found))
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _ in shown)
    body = "\n".join(html for *_, html in shown)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    rows = f"{len(found.log)} runs of {found.log.source}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(rows)}; {escape(", ".join(found.outcomes))}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer><p class="hint">scaling-laws {escape(VERSION)}</p></footer>
<script type="application/json" id="panel-data">{json_text(payload(found))}</script>
<script>{script}</script>
</body>
</html>
"""


def _text(name: str) -> str:
    return (files("scaling_laws.reporting") / name).read_text(encoding="utf-8")
