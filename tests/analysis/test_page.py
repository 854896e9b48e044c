"""HTML pieces."""

from html.parser import HTMLParser

import numpy as np

from analysis.figure import Picture, make_figure
from analysis.page import (
    Html,
    details,
    grouped_table,
    image_block,
    join,
    page,
    pairs,
    picture_block,
    section,
    table,
    tag,
    text,
    tiles,
)

HOSTILE = "<script>alert('x')</script>\"&"
VOID = {"meta", "img"}


class Balance(HTMLParser):
    """Collects tags that were not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.names = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


def test_text_escapes_once_and_html_never():
    assert text("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert text(text("<")) == "&lt;" and text(Html("<b>")) == "<b>" and text(3) == "3"


def test_tags_escape_children_and_attributes():
    assert tag("p", "a<b", tag("b", "c"), class_='x"y', id=None) == '<p class="x&quot;y">a&lt;b<b>c</b></p>'
    assert join(["<", Html("<br>")], " ") == "&lt; <br>"


def test_nothing_hostile_survives_in_any_piece():
    figure, _ = make_figure(height=1.0)
    pieces = [
        table([HOSTILE], [[HOSTILE, HOSTILE]], caption=HOSTILE),
        grouped_table([HOSTILE], {HOSTILE: [[HOSTILE]]}),
        pairs([(HOSTILE, HOSTILE)]),
        tiles([(HOSTILE, HOSTILE)]),
        details(HOSTILE, HOSTILE),
        section(HOSTILE, HOSTILE),
        image_block(HOSTILE, name=HOSTILE, title=HOSTILE, caption=HOSTILE),
        picture_block(Picture(HOSTILE, HOSTILE, HOSTILE, figure, {"x": np.zeros(1)})),
    ]
    document = page(HOSTILE, *pieces)
    parser = Balance()
    parser.feed(document)
    assert "script" not in parser.names and "alert(&#x27;x&#x27;)" in document
    assert parser.faults == [] and parser.open == []


def test_a_table_has_a_heading_for_each_column_and_row():
    html = table(["a", "b"], [["x", 1], ["y", 2]])
    assert html.count('scope="col"') == 2 and html.count('scope="row"') == 2 and html.count("<td") == 2


def test_groups_have_a_line_of_their_own_across_the_table():
    html = grouped_table(["", "N"], {"first": [["x", 1]], "": [["y", 2]]})
    assert html.count("<tbody>") == 2 and html.count('colspan="2"') == 1


def test_a_page_is_for_phones_and_has_no_script():
    document = page("title")
    assert 'name="viewport"' in document and "@media print" in document and "<script" not in document
