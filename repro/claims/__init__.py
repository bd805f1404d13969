"""Claims of the papers (book/claims.yaml) and the verdicts that our runs give. Imports no torch."""

from .judge import evaluate
from .published import published
from .text import ACCURACY, Claim, Comparison, Protocol, Verdict, claims, criterion, parse

__all__ = [
    "ACCURACY",
    "Claim",
    "Comparison",
    "Protocol",
    "Verdict",
    "claims",
    "criterion",
    "evaluate",
    "parse",
    "published",
]
