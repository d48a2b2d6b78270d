"""The errors of taskservice, by what the caller should do.

    TaskServiceError
    ├── RequestError        fix the request; sending it again cannot help          HTTP 400-422   exit 2
    │   ├── AuthError       give a valid key, or one with the needed scope         HTTP 401, 403  exit 2
    │   ├── NotFoundError   nothing of that name is visible to you                 HTTP 404       exit 1
    │   └── ConflictError   it is known, and is something else                     HTTP 409       exit 1
    ├── BackOffError        come back later (`retry_after_s`)                      HTTP 429, 503  exit 1
    │   └── UnreachableError  no service answers there                                            exit 3
    ├── TaskError           the task ended without a result                                       exit 1
    │   ├── TaskFailed      it is a dead letter: see `reason` and `detail`
    │   ├── TaskCancelled   it was cancelled before it ran
    │   └── TaskExpired     it had not started in time
    ├── WaitTimeout         it had not ended when you stopped waiting; it goes on                 exit 1
    └── ServiceBug          ours: please report it, with `detail`                  HTTP 500       exit 1

What a handler raises to say how its attempt ended is apart: `NonRetryable` and `Throttled` in `taskservice.app`.
"""

from __future__ import annotations


class TaskServiceError(Exception):
    """Something did not work. `code` is stable and for programs; the message is for people."""

    status: int = 500
    exit_code: int = 1

    def __init__(self, message: str, *, code: str = "", detail: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).__name__
        self.detail = detail
        if status is not None:
            self.status = status


class RequestError(TaskServiceError):
    """Fix the request; sending it again cannot help."""

    status = 400
    exit_code = 2


class AuthError(RequestError):
    """Give a valid key, or one with the needed scope."""

    status = 401


class NotFoundError(RequestError):
    """Nothing of that name is visible to you."""

    status = 404
    exit_code = 1


class ConflictError(RequestError):
    """It is known already, and is something else."""

    status = 409
    exit_code = 1


class BackOffError(TaskServiceError):
    """Come back after `retry_after_s`."""

    status = 503

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        code: str = "",
        detail: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, detail=detail, status=status)
        self.retry_after_s = retry_after_s


class UnreachableError(BackOffError):
    """No service answers at that address."""

    exit_code = 3


class TaskError(TaskServiceError):
    """The task ended without a result."""

    def __init__(self, message: str, *, task_id: str, reason: str, detail: str = "") -> None:
        super().__init__(message, code=reason, detail=detail)
        self.task_id = task_id
        self.reason = reason


class TaskFailed(TaskError):
    """The task is a dead letter."""


class TaskCancelled(TaskError):
    """The task was cancelled before it ran."""


class TaskExpired(TaskError):
    """The task had not started when its time to live was over."""


class WaitTimeout(TaskServiceError):
    """The task had not ended when you stopped waiting. It goes on."""

    status = 504


class ServiceBug(TaskServiceError):
    """Ours. Please report it, with `detail`."""
