# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bridge counts, in Prometheus's form; docs/bridge.md says what each of them means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from energy_bridge.health import View

__all__ = ["Counts", "Metrics", "Rejected", "Way"]

COMMIT_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Way(StrEnum):
    """How a datagram came in."""

    UDP = "udp"
    HTTP = "http"


class Rejected(StrEnum):
    """Why a datagram is no reading."""

    STRANGER = "stranger"  # from an address that is not allowed to send
    UNPROVEN = "unproven"  # of no known source: nobody is answered
    INVALID = "invalid"  # a known source's, and not as docs/wire.md has it
    TIME = "time"  # of a time or a slot that is not taken


@dataclass(frozen=True, slots=True)
class Counts:
    """What came in since the process started; dropped by the kernel or by the bridge, gaps are numbers left out."""

    received: int
    rejected: Mapping[str, int]
    repeated: int
    conflicts: int
    dropped: int
    gaps: int
    accepted: int
    queue_length: int


class Metrics:
    """The counters of one bridge, for any thread; what is a state rather than a count is asked for when it is shown."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # all began when the process did: that is shown once
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(name, text, tuple(labels), namespace="energy_bridge", registry=self.registry)

        received = counter("datagrams_received", "Datagrams that arrived, by the way they came", ["way"])
        rejected = counter("datagrams_rejected", "Datagrams that were no reading, by reason", ["reason"])
        self.received = {way: received.labels(way) for way in Way}
        self.rejected = {reason: rejected.labels(reason) for reason in Rejected}
        self.queue_dropped = counter("queue_dropped_datagrams", "Datagrams dropped because too many waited")
        self.accepted = counter("readings_accepted", "New readings that were stored")
        self.repeated = counter("readings_repeated", "Datagrams that were stored already")
        self.conflicts = counter("datagrams_conflicting", "Other datagrams under the key of a stored one")
        self.rounded = counter("readings_rounded", "New readings whose energy or price was rounded")
        self.gaps = counter("sequence_gaps", "Times that a source's seq left out numbers", ["source"])
        self.answers = counter("answers", "Answers, pushed ones included")
        self.commit_failures = counter("commit_failures", "Commits that failed: nobody was acknowledged")
        self.commit_seconds = Histogram(
            "commit_seconds",
            "Time that a commit of readings took",
            namespace="energy_bridge",
            buckets=COMMIT_BUCKETS_S,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self._queue_length: Callable[[], int] = int
        self._kernel_dropped: Callable[[], int] = int

    def show(
        self, *, queue_length: Callable[[], int], kernel_dropped: Callable[[], int], view: Callable[[], View]
    ) -> None:
        """Show these too, asked for each time."""
        self._queue_length, self._kernel_dropped = queue_length, kernel_dropped
        self.registry.register(_States(queue_length, kernel_dropped, view))

    def counts(self) -> Counts:
        """The counts that a person looks at, as they are now."""
        return Counts(
            received=sum(map(_value, self.received.values())),
            rejected={reason.value: _value(counter) for reason, counter in self.rejected.items()},
            repeated=_value(self.repeated),
            conflicts=_value(self.conflicts),
            dropped=_value(self.queue_dropped) + self._kernel_dropped(),
            gaps=_value(self.gaps),
            accepted=_value(self.accepted),
            queue_length=self._queue_length(),
        )

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)


class _States(Collector):
    def __init__(
        self, queue_length: Callable[[], int], kernel_dropped: Callable[[], int], view: Callable[[], View]
    ) -> None:
        self._queue_length = queue_length
        self._kernel_dropped = kernel_dropped
        self._view = view

    def collect(self) -> Iterable[Metric]:
        """Ask for the states of this moment; what is not known is left out."""
        view = self._view()
        yield CounterMetricFamily(
            "energy_bridge_kernel_dropped_datagrams",
            "Datagrams that the kernel dropped because the socket's buffer was full",
            self._kernel_dropped(),
        )
        yield _gauge("queue_length", "Datagrams that wait to be stored", self._queue_length())
        yield _gauge("outbox_age_seconds", "Age of the oldest closed slot that is not settled", view.outbox_age_s)
        yield _gauge("chain_head_block", "Number of the newest block", view.head_block)
        batches = GaugeMetricFamily("energy_bridge_batches", "Batches by state", labels=["state"])
        for state, count in view.batches.items():
            batches.add_metric([state], count)
        yield batches


def _value(counter: Counter) -> int:
    """What a counter stands at, with all of its labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))


def _gauge(name: str, text: str, value: float | None) -> Metric:
    gauge = GaugeMetricFamily(f"energy_bridge_{name}", text)
    if value is not None:
        gauge.add_metric([], value)
    return gauge
