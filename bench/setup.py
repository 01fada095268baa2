"""Set-up of a job, request to ready, beside four bare broker hops."""

import json
from statistics import median

import pika

from bench.hops import floor_ms
from bench.measured import Measured
from manager.broker.access import broker_access
from manager.cli.demo import EXAMPLE, demo_parties
from manager.cli.demo_cluster import Cluster
from manager.config import load_settings

WARM_JOBS = 15
QUESTION = ("runmpc", "--dataset", "visits", "--statistic", "mean", "--column", "mdvis")


def _parameters(cluster: Cluster) -> pika.URLParameters:
    access = broker_access(load_settings({"home": cluster.home("manager")}))
    user = access.credentials.admin
    parameters = pika.URLParameters(access.amqp_url)
    parameters.virtual_host = access.vhost
    parameters.credentials = pika.PlainCredentials(user.user, user.password)
    context = access.tls()
    if context is not None:
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    return parameters


def measure(cluster: Cluster) -> list[Measured]:
    """Return set-up times of three servers, three sources and a consumer.

    Cold: the first job, every link new. Warm: the median of the jobs after it.
    """
    cluster.start_realm("bench", demo_parties(EXAMPLE))
    for number in range(WARM_JOBS + 1):
        cluster.note(f"job {number + 1} of {WARM_JOBS + 1}")
        json.loads(cluster.participant("analyst", *QUESTION, "--json"))
    cluster.note("the floor: bare hops on the same broker")
    floor = floor_ms(_parameters(cluster), len(cluster.principals))
    setups = [
        job["times"]["ready"] - job["times"]["requested"]
        for job in cluster.closed_jobs(WARM_JOBS + 1)
    ]
    return [
        Measured("set-up (3 servers, 3 sources), cold", setups[0], floor, "ms"),
        Measured(
            "set-up (3 servers, 3 sources), warm", median(setups[1:]), floor, "ms"
        ),
    ]
