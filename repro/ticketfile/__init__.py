"""Tickets that people can publish and load: one small file each, safe to read whoever made it.

`<name>.ticket.safetensors` holds, as a text `card` in its header, all that is known of the ticket, and the tensors
`mask.NAME` (uint8, see `codings`) for every prunable weight in the order of the card; `kept.NAME` and `whole.NAME`
where weights are stored (see `weights`). `<name>.ticket.json` beside it is the same card for people.
"""

from .card import Card, Facts, Network, Provenance, Source
from .store import load, save
from .weights import rebuild

__all__ = ["Card", "Facts", "Network", "Provenance", "Source", "load", "rebuild", "save"]
