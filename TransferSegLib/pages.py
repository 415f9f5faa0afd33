"""Pages: HTML in one style, without scripts or anything from outside."""

from __future__ import annotations

import html

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; padding: 0 1em; max-width: 1200px; color: #222;
  background: #fff; }
img { width: 100%; }
ul { padding-left: 1.2em; }
"""


def render_page(title: str, body: str, style: str = "") -> str:
    """A whole page.

    Parameters
    ----------
    title : text; shown by the browser, not on the page.
    body : HTML.
    style : CSS beyond what all pages share.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}{style}</style></head><body>\n{body}\n</body></html>\n"
    )
