"""Pages: whole HTML with one style."""

import re

from TransferSegLib.pages import render_page


def test_a_page_has_its_title_escaped_and_its_own_style_beside_the_shared_one():
    text = render_page("a < b", "<p>x</p>", "p { color: red; }")
    assert "<title>a &lt; b</title>" in text
    assert re.search(r"<style>.*body \{.*p \{ color: red; \}</style>", text, re.DOTALL)
