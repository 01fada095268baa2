"""The Python interface of a consumer: ask for computations, get typed results.

``Analyst`` for programs and notebooks, ``AsyncAnalyst`` for asyncio; docs/sdk.md
shows both.
"""

from participant.sdk.analyst import AsyncAnalyst
from participant.sdk.blocking import Analyst, Job
from participant.sdk.errors import (
    JobCancelledError,
    JobFailedError,
    JobRefusedError,
    ResultTimeoutError,
)
from participant.sdk.job import AsyncJob, JobRecord, Progress
from participant.sdk.questions import Options
from participant.sdk.results import (
    Count,
    Histogram,
    LargestGroup,
    Matrix,
    PerColumn,
    Regression,
    Result,
)
from participant.service.local import NotRunningError
from participant.service.summary import Phase
from shared.errors import (
    ConfigError,
    FailureCode,
    FrameworkError,
    JobError,
    RefusalCode,
    RefusedError,
    TransportError,
)

__all__ = [
    "Analyst",
    "AsyncAnalyst",
    "AsyncJob",
    "ConfigError",
    "Count",
    "FailureCode",
    "FrameworkError",
    "Histogram",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobRecord",
    "JobRefusedError",
    "LargestGroup",
    "Matrix",
    "NotRunningError",
    "Options",
    "PerColumn",
    "Phase",
    "Progress",
    "RefusalCode",
    "RefusedError",
    "Regression",
    "Result",
    "ResultTimeoutError",
    "TransportError",
]
