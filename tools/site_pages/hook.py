"""What mkdocs calls while it builds."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# mkdocs loads a hook as a lone file.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.site_pages.commands import page as command_page
from tools.site_pages.navigation import navigation
from tools.site_pages.protocols import with_diagrams
from tools.site_pages.reference import reference


def on_page_markdown(markdown: str, **_: object) -> str:
    """Draw the diagrams that the page asks for."""
    return with_diagrams(markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made to what is written, and put all of it into the navigation."""
    made = {**reference(), "reference/command.md": command_page()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    pages = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    config.nav = navigation(pages)
    return files
