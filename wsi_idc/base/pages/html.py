"""One HTML page that needs no network: its frame, and tables of numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence


def page(title: str, body: str) -> str:
    """Return a page with a title, which is text, and a body, which is HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left }}
tr {{ border-bottom: 1px solid #ddd }} .numbers :is(td, th):not(:first-child) {{ text-align: right }}
small {{ color: #666; display: inline-block; white-space: nowrap }} pre {{ line-height: 1.3 }}
img {{ max-width: 100% }} .figure {{ width: 32% }} .note {{ background: #fff3cd; padding: .4rem .8rem }}
</style></head><body>
<h1>{html.escape(title)}</h1>
{body}
</body></html>
"""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML; all columns but the first stand to the right, as numbers do."""
    head = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
