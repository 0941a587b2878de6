"""The model card as one HTML file: converted Markdown with embedded pictures.

It supports the Markdown that `training.card` writes: headings, paragraphs, lists, tables, bold text, code and pictures.
"""

import base64
import html
import re
from collections.abc import Mapping, Sequence

from models.html_page import single_file_page

STYLE = """
.card-page { max-width: 60rem; margin: 0 auto; overflow-wrap: anywhere; } .card-page h2 { margin-top: 1.75rem; }
.card-page table { width: auto; } .card-page .scroll { margin: 0 0 .75rem; max-height: none; }
.card-page img { display: block; max-width: 100%; height: auto; margin: 0 0 .75rem; border-radius: var(--radius); }
@media (prefers-color-scheme: dark) { .card-page img { filter: invert(.89) hue-rotate(180deg); } }
"""
INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|!\[([^\]]*)\]\(([^)]*)\)")
HEADING = re.compile(r"(#{1,6}) (.*)")
TABLE_LINE = re.compile(r"\|[\s|:-]+\|")
CELL_END = re.compile(r"(?<!\\)\|")


def card_page(name: str, card: str, pictures: Mapping[str, bytes]) -> str:
    """The page of a model card. card: Markdown. pictures: PNG files by their names in the card."""
    blocks = re.split(r"\n{2,}", card.replace("\r\n", "\n").strip())
    content = "\n".join(filter(None, (_block(block, pictures) for block in blocks)))
    return single_file_page(f"{name}: model card", f'<div class="card-page">\n{content}\n</div>', STYLE)


def _block(block: str, pictures: Mapping[str, bytes]) -> str:
    lines = block.split("\n")
    if heading := HEADING.fullmatch(block):
        level = len(heading[1])
        return f"<h{level}>{_inline(heading[2], pictures)}</h{level}>"
    if len(lines) > 1 and lines[0].startswith("|") and TABLE_LINE.fullmatch(lines[1]):
        return _table(lines[0], lines[2:], pictures)
    if all(line.startswith("- ") for line in lines):
        return f"<ul>{''.join(f'<li>{_inline(line[2:], pictures)}</li>' for line in lines)}</ul>"
    text = _inline(" ".join(lines), pictures)
    return f"<p>{text}</p>" if text.strip() else ""


def _table(head: str, body: Sequence[str], pictures: Mapping[str, bytes]) -> str:
    titles = "".join(
        f'<th scope="col">{_inline(cell, pictures)}</th>' if cell else "<td></td>" for cell in _cells(head)
    )
    rows = "".join(
        f"<tr>{''.join(f'<td>{_inline(cell, pictures)}</td>' for cell in _cells(line))}</tr>" for line in body
    )
    label = html.escape(" ".join(filter(None, _cells(head))))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cells(line: str) -> list[str]:
    r"""The cells of a table line; `\|` is a bar within a cell."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in CELL_END.split(inner)]


def _inline(text: str, pictures: Mapping[str, bytes]) -> str:
    parts, end = [], 0
    for found in INLINE.finditer(text):
        parts.append(html.escape(text[end : found.start()]))
        code, bold, label, address = found.groups()
        if code is not None:
            parts.append(f"<code>{html.escape(code)}</code>")
        elif bold is not None:
            parts.append(f"<strong>{html.escape(bold)}</strong>")
        elif address in pictures:
            data = base64.b64encode(pictures[address]).decode()
            parts.append(f'<img alt="{html.escape(label)}" src="data:image/png;base64,{data}">')
        end = found.end()
    return "".join([*parts, html.escape(text[end:])])
