"""The one place that tries again. Stores try each request once, so retries never multiply.

Back-off is exponential with full jitter, as in
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ckpt_tier.errors import AccessDeniedError, UnavailableError
from ckpt_tier.system.clock import Clock

if TYPE_CHECKING:
    import tenacity

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
READ_ATTEMPTS = 4
"""For commands that somebody waits for: some seconds, then the error."""

T = TypeVar("T")


def persistently(
    call: Callable[[], T],
    clock: Clock,
    attempts: int = READ_ATTEMPTS,
    on_failure: Callable[[UnavailableError, int, float], None] | None = None,
) -> T:
    """`call()`, tried up to `attempts` times while it raises UnavailableError, whose last one is raised.

    Refused credentials (AccessDeniedError) are raised at once: asking again seconds later changes nothing.

    `on_failure` is told of each failure but the last, its number, and the seconds until the next attempt.
    """

    try:
        return call()
    except UnavailableError as error:
        failed = [error]
    import tenacity  # only now: nearly every call succeeds, and most commands see no other

    def again() -> T:
        if failed:
            raise failed.pop()  # the first attempt, which was made above
        return call()

    def before_sleep(state: "tenacity.RetryCallState") -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_failure is not None and isinstance(error, UnavailableError) and state.next_action is not None:
            on_failure(error, state.attempt_number, state.next_action.sleep)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        retry=tenacity.retry_if_exception(_is_worth_another_try),
        sleep=clock.sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    return retrying(again)


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, UnavailableError) and not isinstance(error, AccessDeniedError)
