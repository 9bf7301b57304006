"""Models from folders and the Hub: found at once or not at all, loaded whole or not at all, and never run as code.

What a stranger's folder holds is data to be read. Code in it (``auto_map``) is never run and never asked about, and
whatever the libraries raise over the rest becomes one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from dissensus.errors import DissensusError, InputError

_SECONDS = 10.0
"""For the Hub to say whether it has a model."""
_SHOWN = 3
_POSITIONS = ("position_embeddings", "wpe", "embed_positions", "positions_embed")
"""Names of tables of positions."""
_FIXED_POSITIONS = ("embed_positions", "pos_encoding")
"""Names of tables that are no weights (GPT-J's, CTRL's)."""
_NUMBER = re.compile(r"\.\d+(?=\.)")
_LONGEST = 300
_LARGE = (".safetensors", ".bin", ".model", ".json")
"""Ends of the names of files that repositories keep apart, in Git LFS."""
_POINTER = b"version https://git-lfs"
_NO_CLASS = re.compile(r"Unrecognized configuration class .*?(\w+)'> for this kind of AutoModel: (\w+)")
TODAY = datetime(2024, 7, 26)
"""The date of every text, Llama 3.1's own default: what a model reads must not change overnight."""
_NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
_ADAPTERS = (
    "it holds adapters (PEFT) and no whole model; merge them into their base model with merge_and_unload(), save that "
    "with its tokenizer, and give its folder"
)


def locate(name: str, *, revision: str | None = None) -> dict[str, bool]:
    """Return the keyword arguments with which ``from_pretrained`` reads this folder or Hub id, and runs no code.

    The Hub is asked once. Where it cannot be reached, a model in its local cache is read from there.

    Raises InputError where there is no such folder, it holds no whole model, or the Hub does not give the model.
    """
    path = Path(name)
    safe = {"trust_remote_code": False}
    if path.is_dir():
        check_folder(path)
        return safe
    if path.exists():
        raise InputError("it is a file; give the folder that it lies in, with config.json, weights and tokenizer")
    return safe | ({} if on_the_hub(name, revision=revision) else {"local_files_only": True})


def check_folder(folder: Path) -> None:
    """Raise InputError where a folder does not hold a whole model, as far as its files' names and beginnings say."""
    if (folder / "adapter_config.json").is_file():
        raise InputError(_ADAPTERS)
    if not (folder / "config.json").is_file():
        raise InputError(
            "the folder has no config.json; give a folder with config.json, weights and tokenizer, as "
            "save_pretrained writes them"
        )
    for path in sorted(path for path in folder.iterdir() if path.suffix in _LARGE and path.is_file()):
        check_pointer(path)


def check_pointer(path: Path) -> None:
    """Raise InputError where a file is not there itself, only what Git LFS leaves in its place."""
    with path.open("rb") as file:
        beginning = file.read(len(_POINTER))
    if beginning == _POINTER:
        raise InputError(
            f"{path.name} is a pointer of Git LFS, and not the file itself; run 'git lfs pull' in the repository"
        )


def on_the_hub(name: str, file: str = "config.json", *, revision: str | None = None) -> bool:
    """Whether the Hub has a model with this file; False where it cannot be asked and its cache has it.

    One request, which is not repeated. Raises InputError where the Hub does not give it.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    http_error = errors.HTTPError  # type: ignore[attr-defined]  # that of httpx or of httpx2
    try:
        url = hf_hub_url(name, file, revision=revision)
        cached = isinstance(try_to_load_from_cache(name, file, revision=revision), str)
        get_hf_file_metadata(url, timeout=_SECONDS)
    except errors.HFValidationError as error:
        said = "there is no such folder, and no model on the Hub can have this name; give a folder or a Hub id"
        raise InputError(said) from error
    except errors.GatedRepoError as error:
        said = "the Hub gives it to those who asked for it; ask on its page, and log in with 'hf auth login'"
        raise InputError(said) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"the Hub has no revision '{revision}' of it; name a branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        said = "there is no such folder, and the Hub has no such model (or your token may not see it); check its name"
        raise InputError(said) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"on the Hub it has no {file}; give a model that transformers can read") from error
    except (errors.OfflineModeIsEnabled, errors.HfHubHTTPError, http_error, OSError) as error:
        if cached:
            return False
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        reason = "is switched off (HF_HUB_OFFLINE)" if offline else "cannot be reached"
        raise InputError(
            f"there is no such folder, the Hub {reason}, and its cache has no such model; check name and network"
        ) from error
    return True


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever is raised over a model's files into one line of InputError, ``what: reason; remedy``.

    An InputError of ours has a remedy of its own; other errors of ours pass.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except DissensusError:
        raise
    except Exception as error:
        # The files are anybody's, so that it may be any exception of five libraries, bare ones among them.
        raise InputError(f"{what}: {_reason(error)}; {remedy}") from error


def _reason(error: Exception) -> str:
    said = first_line(error)
    if "trust_remote_code" in str(error):
        return "it needs code that comes with it, and such code is never run"
    if (kind := _NO_CLASS.search(said)) is not None:
        return f"transformers has no {kind[2]} for {kind[1]}"
    if "instantiate the backend tokenizer" in said:
        return "it has no tokenizer that can be read (tokenizer.json, say, is not there)"
    if isinstance(error, OSError | ValueError | RuntimeError | ImportError) or said == type(error).__name__:
        return said
    return f"{type(error).__name__} ({said})"


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, at most 300 characters; its name where it says nothing.

    >>> first_line(ValueError())
    'ValueError'
    """
    lines = str(error).strip().splitlines()
    return (lines[0][:_LONGEST] if lines else type(error).__name__).rstrip(". ")


def check_weights(model: Any, report: Any, *, spared: Callable[[str], bool] = lambda _name: False) -> list[str]:
    """Check that all weights of a model were in its files; ``report`` is that of ``output_loading_info``.

    Returns the names of those that were not (or not in this shape) and are ``spared``: they are made anew. Files may
    hold more than the model has, but nothing of its own modules: a layer too many, or a bias without a place, say that
    the configuration is that of another model.

    Raises InputError that names what did not load.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(_ADAPTERS)
    shapes = {
        name: f"{name} is {'x'.join(map(str, found))} and should be {'x'.join(map(str, wanted))}"
        for name, found, wanted in report["mismatched_keys"]
    }
    lacking, left = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    made = [name for name in (*lacking, *shapes) if spared(name)]
    wrong = [shapes[name] for name in sorted(shapes) if not spared(name)]
    absent = [name for name in lacking if not spared(name)]
    stray = [name for name in left if _has_place(model, name) and not spared(name)]
    problems = []
    if absent:
        problems.append(f"lack {_some(absent)}" + (f", and have {_some(left)} instead" if left else ""))
    if wrong:
        problems.append(f"do not fit: {_some(wrong)}")
    if stray and not absent:
        problems.append(f"have {_some(stray)}, which its configuration has no place for")
    if problems:
        raise InputError(f"its weights {' and '.join(problems)}; {_remedy(absent, left)}")
    return made


def _has_place(model: Any, name: str) -> bool:
    """Whether a weight belongs to a module that the model has, if perhaps in fewer layers, and is none of its buffers.

    A checkpoint of the backbone alone names its weights without the model's prefix.
    """
    owners = {_NUMBER.sub(".#", weight).rpartition(".")[0] for weight, _ in model.named_parameters()}
    buffers = {_NUMBER.sub(".#", buffer) for buffer, _ in model.named_buffers()}
    found = _NUMBER.sub(".#", name)
    names = (found, f"{model.base_model_prefix}.{found}")
    return any(each.rpartition(".")[0] in owners and each not in buffers for each in names)


def _remedy(absent: list[str], left: list[str]) -> str:
    for name in left:
        match = next((lacked for lacked in absent if name.endswith(f".{lacked}")), None)
        if match is not None:
            return f"take the prefix '{name.removesuffix(match)}' off the names in its file"
    return "save the whole model with save_pretrained, and give that folder"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_table(model: Any, tokenizer: Any) -> None:
    """Check that each token that the tokenizer knows has a row in the table of embeddings."""
    check_tokens(int(model.get_input_embeddings().weight.shape[0]), tokenizer)


def check_tokens(rows: int, tokenizer: Any) -> None:
    """Check that each token that the tokenizer knows has one of so many rows."""
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if beyond:
        number, token = beyond[0]
        raise InputError(
            f"its tokenizer has {len(beyond)} tokens more than its table of embeddings, which has {rows} rows (token "
            f"{number}, {token!r}, is the first); give its own tokenizer, or call "
            "model.resize_token_embeddings(len(tokenizer)) and save it again"
        )


def position_limit(model: Any) -> int | None:
    """Return how many tokens a model with a table of positions can read; None for relative or rotary positions."""
    from torch import Tensor, nn

    if model.config.model_type == "mpt":  # its biases are made for so many positions, and no more
        return int(model.config.max_seq_len)
    for name, module in model.named_modules():
        for fixed in (getattr(module, table, None) for table in _FIXED_POSITIONS):
            if isinstance(fixed, Tensor):
                return len(fixed)
        if isinstance(module, nn.Embedding) and name.rsplit(".", 1)[-1] in _POSITIONS:
            # RoBERTa's table begins behind the padding token's row, OPT's and BART's at a row that they name.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            rows = module.num_embeddings - int(getattr(module, "offset", first))
            # Others have rows that no position is given.
            return min(rows, stated_positions(model) or rows)
    return None


def stated_positions(model: Any) -> int | None:
    """Return how many positions the configuration says that a model was made for; None where it does not say."""
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return stated if isinstance(stated, int) and stated > 0 else None


def fix_date(template: str) -> str:
    """Return a chat template that writes `TODAY` where it would ask for the date.

    >>> fix_date("Today is {{ strftime_now('%d %b') }}.")
    "Today is {{ '26 Jul' }}."
    """
    return _NOW.sub(lambda call: repr(TODAY.strftime(call[2])), template)
