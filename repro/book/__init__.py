"""The book: run the notebooks over parameter files, stage them beside the written pages, build the HTML."""

from .html import build
from .notebooks import Page, execute, pages, sections
from .report import make_report
from .staging import stage

__all__ = ["Page", "build", "execute", "make_report", "pages", "sections", "stage"]
