"""Publishing ticket files in repositories of the Hugging Face Hub; its client is imported only here, when used."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ReproError
from ..vet import short
from .card import Card
from .page import readme
from .store import card_file, load, named


class Pushed(NamedTuple):
    """Where a ticket went: the commit's address, the files, and whether a README was left as it was."""

    url: str
    files: list[str]
    readme_stays: bool


def push(path: str | Path, repo: str, *, private: bool = False, replace: bool = False) -> Pushed:
    """Put a ticket file, its card and a README into a repository, made if it is not there, as one commit.

    The address and the token are those of the client: HF_ENDPOINT, and HF_TOKEN or what `hf auth login` keeps.

    Args:
        path: a ticket file; it is read and checked first.
        repo: NAME or OWNER/NAME.
        private: make a new repository private; one that is there stays as it is.
        replace: write over a README that is there.

    Raises:
        ReproError: when the file is faulty, the client is not installed, or the Hub refuses.
    """
    path = named(path)
    _, card = load(path)
    hub = _client()
    try:
        api = hub.HfApi()
        api.create_repo(repo, exist_ok=True, private=private)
        stays = not replace and api.file_exists(repo, "README.md")
        content = _content(path, card, with_readme=not stays)
        done = api.create_commit(
            repo,
            [hub.CommitOperationAdd(name, what) for name, what in content.items()],
            commit_message=f"Ticket {path.name}",
        )
    except Exception as error:  # the client raises what its HTTP library raises, which differs by version
        raise ReproError(f"{repo}: {_why(error)}") from None
    return Pushed(str(done.commit_url), list(content), stays)


def _content(path: Path, card: Card, *, with_readme: bool) -> dict[str, str | bytes]:
    """Give the files of the commit: a path or the bytes, by name."""
    text = json.dumps(card.model_dump(), indent=1) + "\n"
    content: dict[str, str | bytes] = {path.name: str(path), card_file(path).name: text.encode()}
    return content | ({"README.md": readme(card, path.name).encode()} if with_readme else {})


def _client() -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError:
        raise ReproError(
            "push: the library huggingface_hub is not installed; `pip install 'repro-jackpot[hub]'` gets it"
        ) from None


def _why(error: Exception) -> str:
    """Tell an error of the client in one line, with what to do about it."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    hint = "log in with `hf auth login` or set HF_TOKEN, with the right to write there"
    if code in (401, 403) or type(error).__name__ == "LocalTokenNotFoundError":
        return f"the Hub refuses ({short(error)}); {hint}"
    return f"{type(error).__name__}: {short(error)}; check the name and the network, and try again"
