"""The site's Markdown extension: fills in the tables of ``docs.tables``."""

from __future__ import annotations

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

from .tables import filled


class Tables(Preprocessor):
    """Replaces each placeholder by its table."""

    def run(self, lines: list[str]) -> list[str]:
        """Return the page's lines with the tables filled in."""
        return list(filled(lines))


class TablesExtension(Extension):
    """Registers Tables."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown's own name
        """Fill in the tables before any other extension reads the page."""
        md.preprocessors.register(Tables(md), "keevx_tables", 100)


def makeExtension(**_: object) -> TablesExtension:  # noqa: N802 - Markdown's own name
    """Return the extension; Markdown calls this by name."""
    return TablesExtension()
