# One image for the manager, every participant and the steps before their first start.
# The broker is RabbitMQ's own image; docker-compose.yml puts them together.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY pyproject.toml ./
RUN python3 -m venv /opt/mpc \
    && /opt/mpc/bin/pip install --no-cache-dir $(/opt/mpc/bin/python -c \
        'import tomllib; it = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*it["dependencies"], *it["optional-dependencies"]["postgresql"])')
COPY README.md LICENSE ./
COPY broker_config broker_config
COPY shared shared
COPY manager manager
COPY participant participant
COPY selftest selftest
RUN /opt/mpc/bin/pip install --no-cache-dir --no-deps . \
    && /opt/mpc/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/mpc /opt/mpc
COPY docker /opt/mpc/docker
# User 999 is RabbitMQ's in its own image: what is made here for it needs no other
# owner, and every secret file keeps mode 0600. A volume takes the owner of the folder
# on which it is mounted first.
RUN chmod 0755 /opt/mpc/docker /opt/mpc/docker/* \
    && install -d -m 0755 /mpc /mpc/broker /mpc/tokens /mpc/data \
    && cd /mpc && install -d -o 999 -g 999 -m 0700 home homes/2 root token database broker/node \
        broker/access tokens/server1 tokens/server2 tokens/server3 tokens/source1 \
        tokens/source2 tokens/source3 tokens/analyst
ENV PATH=/opt/mpc/docker:/opt/mpc/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/mpc/home MPC_HOME=/mpc/home PYTHONUNBUFFERED=1
USER 999:999
