"""The site's Markdown extension: puts the tables of ``docs.tables`` where a page marks them."""

from __future__ import annotations

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

from .tables import filled


class Tables(Preprocessor):
    """Replaces each mark by its table."""

    def run(self, lines: list[str]) -> list[str]:
        """Return the page's lines with its tables."""
        return list(filled(lines))


class TablesExtension(Extension):
    """Registers Tables."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown's own name
        """Have the tables made before anything else reads the page."""
        md.preprocessors.register(Tables(md), "keevx_tables", 100)


def makeExtension(**_: object) -> TablesExtension:  # noqa: N802 - Markdown's own name
    """Return the extension, as Markdown asks for it."""
    return TablesExtension()
