"""What histories have brought to light, each as small as it can be."""

import asyncio

from participant.protocol.model import Stage
from shared.names import Io
from tests.manager_realm import NOT_WAITING
from tests.simulation.history import question
from tests.simulation.realm import SimRealm


def test_a_job_that_ends_in_the_transaction_of_a_return_is_told_to_who_returns() -> (
    None
):
    """The end goes into the older session; the new one must hear of it too."""

    async def told(realm: SimRealm) -> set[tuple[str, str]]:
        await realm.begin()
        consumer = realm.consumers[0]
        source = next(p for p in realm.parties if p.identity.io is Io.INPUT)
        job = consumer.submit(question())
        consumer.speak()
        realm.broker.settle()
        await realm.service.pump(NOT_WAITING)
        source.restart()
        source.begin_login()
        realm.broker.settle()
        await realm.service.pump(NOT_WAITING)
        realm.broker.settle()
        source.hear(32)
        consumer.cancel(job)
        consumer.speak()
        source.speak()
        realm.broker.settle()
        deliveries = await realm.transport.deliveries(8, NOT_WAITING)
        deliveries.sort(key=lambda delivery: delivery.message_type or "")
        names = [delivery.message_type for delivery in deliveries]

        assert names == ["job.cancel", "status"]
        realm.service.handle(deliveries)
        await realm.service.publish()
        await realm.transport.ack(deliveries)
        await realm.calm()

        assert consumer.jobs[job].stage is Stage.CLOSED
        return source.closed.get(job, set())

    assert asyncio.run(told(SimRealm())) == {("cancelled", "cancelled")}
