"""The hub's errors in one line each: gated, private, unknown, out of reach."""

from collections.abc import Iterator
from contextlib import contextmanager


class HubError(Exception):
    """The hub did not give what was requested; the message says why and what to do."""


@contextmanager
def explain_hub_errors(
    repository: str, revision: str | None = None, kind: str = "model"
) -> Iterator[None]:
    """Turn the hub client's errors within the block into one line each, its warnings off.

    Args:
        kind: `model` or `data set`.
    Raises:
        HubError: for a gated, private or unknown repository, an unknown revision, no network.
    """
    from huggingface_hub import constants, errors

    where = f"{kind} {repository!r}" + (f" at revision {revision!r}" if revision else "")
    option = "" if kind == "model" else "--repo-type dataset "
    fetch = f"hf download {option}{repository}"
    page = f"{constants.ENDPOINT}/{'' if kind == 'model' else 'datasets/'}{repository}"
    try:
        with _warnings_off():
            yield
    except errors.GatedRepoError:
        raise HubError(
            f"{where} is gated: accept its licence on {page}, then `hf auth login` or set HF_TOKEN "
            "to a token of that account"
        ) from None
    except errors.RepositoryNotFoundError:
        raise HubError(
            f"the hub has no {kind} {repository!r}, or it is private: check the name, or "
            "`hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise HubError(f"the hub has {kind} {repository!r}, but no revision {revision!r}") from None
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{where} is not in the local cache and the hub cannot be reached; fetch it where "
            f"there is a network: `{fetch}`"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{where}: the hub is switched off by HF_HUB_OFFLINE") from error
    except (errors.HfHubHTTPError, *_transport_errors()) as error:
        raise HubError(f"{where}: {describe_error(error)}") from error


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Within the block the hub client does not log that it retries; its errors are raised."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def is_reachable(model: str, revision: str | None) -> bool:
    """Whether the hub answers one request within HF_HUB_ETAG_TIMEOUT seconds.

    The client's own download retries for twenty seconds, or waits for an answer without end.
    """
    from huggingface_hub import HfApi, constants, errors

    try:
        HfApi().repo_info(model, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.HfHubHTTPError:
        return True  # a refusal: the download says which
    except (errors.OfflineModeIsEnabled, *_transport_errors()):
        return False
    return True


def _transport_errors() -> tuple[type[Exception], ...]:
    """The errors of the hub's HTTP client, which has been requests, httpx and httpx2.

    They are the bases of the hub's own errors.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


def describe_error(error: BaseException, longest: int = 400) -> str:
    """An error's type and message in one line, cut after `longest` characters."""
    text = f"{type(error).__name__}: {one_line(error)}"
    return text if len(text) <= longest else f"{text[:longest]}..."
