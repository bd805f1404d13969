"""The model card of a published ticket: a README made from its card."""

from __future__ import annotations

from .card import Card, Network

WEIGHTS = {
    "seed": "none: they are rebuilt from the seed, and their checksum is compared",
    "kept": "of each masked tensor the entries that are kept, all other tensors whole",
    "full": "all",
    "none": "none",
}
HEAD = """---
library_name: repro-jackpot
tags:
- lottery-ticket
- pruning
- sparse
---
"""


def network_words(network: Network) -> str:
    """Name a network with its options, classes and channels in one line."""
    options = ", ".join(f"{k}={v}" for k, v in network.options.items())
    return f"{network.name} ({options}), {network.classes} classes, {network.channels} channels"


def facts_told(card: Card) -> dict[str, str]:
    """Tell what a card says of a ticket as a whole, in words, by name; what it does not know is left out."""
    made, asked = card.provenance, card.density.requested
    data = card.data and ", ".join(f"{k}={v}" for k, v in card.data.items() if v is not None)
    source = made.source and f"{made.source.file}, layout {made.source.layout}, SHA-256 {made.source.sha256}"
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items() if version)
    told = {
        "method": card.method,
        "network": network_words(card.network),
        "data": data,
        "density": f"{card.density.realised:.6g}: {card.kept} of {card.total} weights kept"
        + ("" if asked is None else f"; asked for {asked:g}"),
        "seed": None if card.seed is None else f"{card.seed}, initial weights by {card.init}",
        "weights": " ".join(filter(None, [card.weights.stage, f"(stored: {WEIGHTS[card.weights.mode]})"])),
        "rewound to": None
        if card.rewind is None
        else f"{card.rewind}"
        if isinstance(card.rewind, str)
        else f"epoch {card.rewind}",
        "accuracy": None
        if card.accuracy is None
        else f"{card.accuracy:.2f} % of the test images, as recorded",
        "run": made.key,
        "command": made.command,
        "imported": source,
        "written": " ".join(filter(None, [made.when, made.commit and f"by commit {made.commit}"])),
        "versions": versions,
    }
    return {name: words for name, words in told.items() if words}


def readme(card: Card, file: str) -> str:
    """Write the model card.

    Args:
        card: the ticket's.
        file: name of the ticket file beside it.
    """
    facts = [f"| {name} | {_cell(words)} |" for name, words in facts_told(card).items()]
    layers = [
        f"| `{row.name}` | {' x '.join(map(str, row.shape))} | {row.kept} | {row.total} | {row.kept / row.total:.4f} |"
        for row in card.layers
    ]
    lines = [
        f"{HEAD}\n# Ticket {_cell(card.method)} of {card.network.name}, density {card.density.realised:.4g}",
        "Masks of a sparse network and the weights they belong to, in one file that holds no code.",
        "| what | |\n|---|---|\n" + "\n".join(facts),
        "```python\nimport repro.ticketfile\n\n"
        f'ticket, card = repro.ticketfile.load("{file}")  # masks, weights, and all of the above\n```',
        "| layer | shape | kept | total | density |\n|---|---|---|---|---|\n" + "\n".join(layers),
    ]
    return "\n\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Keep a text from being read as Markdown, or from ending a cell of a table."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~$" else c for c in text)
