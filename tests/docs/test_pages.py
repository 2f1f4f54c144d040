"""Generated pages are fresh, and what the README links to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(pages.PAGES))
def test_a_generated_page_is_fresh(name: str):
    assert (ROOT / "docs" / name).read_text() == pages.PAGES[name]()


def contents(text: str) -> list[str]:
    """What a page's own list of contents names, in order; nothing where it has none."""
    listed = re.search(r"(?:^- \[.*\n(?:^  .*\n)*)+", text.partition("\n## ")[0] + "\n", re.MULTILINE)
    return re.findall(r"^- \[([^\]]+)\]\(#", listed[0], re.MULTILINE) if listed else []


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_a_list_of_contents_has_every_section(name: str):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = contents(blocks)
    assert not found or found == re.findall(r"^## (.+)$", blocks, re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{page} links to {target}"
