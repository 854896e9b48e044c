"""HTML from values: everything is escaped unless it was made here."""

import html
from collections.abc import Iterable, Mapping, Sequence

from analysis.figure import Picture, encode

CSS = """
:root { --ink: #1f2328; --muted: #5b6470; --rule: #d4d8dd; --wash: #f5f7f9; --accent: #0b5cad; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.55;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  -webkit-text-size-adjust: 100%; }
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
.kicker { color: var(--muted); font-size: .9rem; margin: 0 0 .3rem; }
.lead { font-size: 1.05rem; }
.note { background: var(--wash); border-left: 3px solid var(--accent); padding: .6rem .9rem; margin: 1rem 0;
  max-width: 44rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.4rem 0; }
.tiles div { background: var(--wash); border-radius: 6px; padding: .6rem .8rem; }
.tiles dt { color: var(--muted); font-size: .8rem; }
.tiles dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
figure.table { margin: .8rem 0; }
.stacked .interval { display: block; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
th { font-weight: 600; }
tbody th { white-space: nowrap; }
td.number { white-space: nowrap; }
td .interval { color: var(--muted); font-size: .92em; }
td.value { overflow-wrap: anywhere; min-width: 10rem; }
th.group { padding-top: 1rem; border-bottom: 0; }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin-right: .4em; }
figure { margin: 1.6rem 0 2.2rem; }
figure .scroll { margin: 0; }
figure img { display: block; width: 100%; min-width: 34rem; height: auto; }
figcaption { color: var(--muted); font-size: .88rem; max-width: 46rem; margin-top: .4rem; }
figcaption strong { color: var(--ink); }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--wash); padding: .8rem 1rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .85rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--muted); font-size: .85rem; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.5rem; } th, td { padding-right: .7rem; }
  td .interval { display: block; }
}
@media print {
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  figure, table, .note { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure img { min-width: 0; } .scroll { overflow: visible; } details::details-content { content-visibility: visible; }
}
"""


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def text(value: object) -> Html:
    """Returns the value as HTML: escaped, unless it is Html."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Returns the parts one after another, each escaped unless it is Html."""
    return Html(separator.join(text(part) for part in parts))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Returns an element with escaped children and attribute values; `class_` means the attribute `class`."""
    inside = "".join(f' {key.rstrip("_")}="{text(value)}"' for key, value in attributes.items() if value is not None)
    return Html(f"<{name}{inside}>{join(children)}</{name}>")


def _rows(rows: Iterable[Sequence[object]]) -> Html:
    return join(
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell, class_="number") for cell in row[1:]))
        for row in rows
    )


def grouped_table(
    header: Sequence[object], groups: Mapping[str, Iterable[Sequence[object]]], *, caption: object = None
) -> Html:
    """Returns a table of named groups of rows that scrolls sideways on narrow screens; first cells are headings.

    A group named "" gets no line of its own.
    """
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    bodies = [
        tag("tbody", tag("tr", tag("th", name, colspan=len(header), class_="group")) if name else "", _rows(rows))
        for name, rows in groups.items()
    ]
    scrolling = tag("div", tag("table", head, *bodies), class_="scroll")
    return tag("figure", tag("figcaption", caption), scrolling, class_="table") if caption is not None else scrolling


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, caption: object = None) -> Html:
    """Returns a table that scrolls sideways on narrow screens; the first cell of each row is its heading."""
    return grouped_table(header, {"": rows}, caption=caption)


def pairs(entries: Iterable[tuple[object, object]]) -> Html:
    """Returns a two-column table of names and values, values free to wrap."""
    body = [tag("tr", tag("th", name, scope="row"), tag("td", value, class_="value")) for name, value in entries]
    return tag("div", tag("table", tag("tbody", *body)), class_="scroll")


def tiles(entries: Iterable[tuple[object, object]]) -> Html:
    """Returns key figures in a row that wraps."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in entries), class_="tiles")


def details(summary: object, *body: object) -> Html:
    """Returns a part that opens on a click, without any script."""
    return tag("details", tag("summary", summary), *body)


def picture_block(picture: Picture) -> Html:
    """Returns a figure as an inline image with its caption and where its numbers are."""
    return image_block(encode(picture), name=picture.name, title=picture.title, caption=picture.caption)


def image_block(source: str, *, name: str, title: str, caption: str) -> Html:
    """Returns an image, given as a `data:` address, with its caption and where its numbers are."""
    image = Html(f'<img alt="{text(title)}: {text(caption)}" src="{text(source)}">')
    where = join(["Numbers: ", tag("code", f"figures/{name}.npz"), "."])
    words = tag("figcaption", tag("strong", f"{title}."), " ", caption, " ", where)
    return tag("figure", tag("div", image, class_="scroll"), words)


def section(title: object, *body: object) -> Html:
    """Returns a section with a heading."""
    return tag("section", tag("h2", title), *body)


def page(title: object, *body: object) -> str:
    """Returns a whole document with everything inside: no script, no font, no picture from elsewhere."""
    head = join(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            tag("title", title),
            Html(f"<style>{CSS}</style>"),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{tag("main", *body)}</body></html>\n'
