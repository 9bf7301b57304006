"""The upload of a trained model to the Hugging Face Hub: checked, with its card, in one commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of httpx or of httpx2
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from dissensus.errors import ConfigError, DissensusError, OutputError
from dissensus.reward.model_record import RECORD_FILE, read_record, record_content
from dissensus.reward.serving.model_card import backbone_name, write_card
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.text.encoder import quiet_transformers

_REMEDIES = {
    401: "the token is not valid: log in with 'hf auth login', or set HF_TOKEN to another",
    403: "the token may not write there: take one with write access, and a name that you or your organisation own",
    404: "there is no such user or organisation, or your token may not see it: check the name before the '/'",
    409: "somebody else is writing there: run again",
    429: "too many requests: wait a few minutes and run again",
}


@dataclass(frozen=True)
class ModelFiles:
    """What is uploaded: names within the folder, with sizes in bytes."""

    folder: Path
    sizes: dict[str, int]


def prepare(folder: str | Path, repo: str, *, scores: str | Path | None = None) -> ModelFiles:
    """Check name and folder, load the model, write its card, and list what would be uploaded; all without a network.

    Files and folders whose names begin with a dot stay at home.

    Raises ConfigError for a malformed ``repo``, InputError where the folder holds no model of ours that loads or the
    scores none of its metrics, OutputError where the card cannot be written.
    """
    _check_name(repo)
    folder = Path(folder)
    write_card(folder, scores, repo=repo)
    with quiet_transformers():
        RewardModel.load(folder, device="cpu")
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return ModelFiles(folder, {name.as_posix(): (folder / name).stat().st_size for name in shown})


def publish(files: ModelFiles, repo: str, *, private: bool = False, message: str = "Reward model") -> str:
    """Make the repository where there is none, upload the files in one commit, and return the commit's address.

    The token is that of the environment (HF_TOKEN) or of the login. With ``private``, a repository that exists and is
    public is refused. Raises OutputError where the Hub cannot be reached, or refuses.
    """
    _check_name(repo)
    token = get_token()
    if token is None:
        raise OutputError(f"{repo}: no token for the Hub; log in with 'hf auth login', or set HF_TOKEN")
    api = HfApi(token=token, library_name="dissensus")
    with _explained(repo, token):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise OutputError(f"{repo}: exists and is public; make it private on the Hub first, or leave out --private")
        operations = [CommitOperationAdd(name, _content(files.folder / name)) for name in files.sizes]
        return str(api.create_commit(repo, operations, commit_message=message).commit_url)


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
        if repo.count("/") == 1:
            return
    except HFValidationError:
        pass
    raise ConfigError(
        f"--repo: {repo!r} is no name on the Hub; expected ORGANISATION/NAME of letters, digits, '-', '_' and '.'"
    )


def _content(path: Path) -> str | bytes:
    """Return what to upload: the file, but of the settings a copy that does not tell where the backbone lay."""
    if path.name != RECORD_FILE:
        return str(path)
    record = read_record(path)
    config = record.config.model_copy(update={"model": backbone_name(record.config.model)})
    content = record_content(record.model_copy(update={"config": config}))
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


@contextmanager
def _explained(repo: str, token: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one line with a remedy, in which the token never stands."""
    try:
        yield
    except DissensusError:
        raise
    except OfflineModeIsEnabled as error:
        raise OutputError(f"{repo}: the Hub is switched off here; unset HF_HUB_OFFLINE and run again") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = (error.server_message or "").strip().splitlines()
        remedy = _REMEDIES.get(status) or f"{said[0] if said else 'no reason given'}; run again later"
        raise OutputError(f"{repo}: the Hub answered {status}; {remedy}".replace(token, "(token)")) from None
    except (HTTPError, OSError, RuntimeError) as error:
        # The upload of large files is an extension, which knows RuntimeError alone.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(token, "(token)")
        raise OutputError(
            f"{repo}: the Hub cannot be reached ({reason}); check the network and run again: nothing is half-published"
        ) from None
