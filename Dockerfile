# Two images from one file, each pinned by constraints.txt:
#   docker build --target serve   -t relabel-service/serve:0.1.0 .            # lease service
#   docker build --target cluster -t relabel-service/cluster:0.1.0-cuda \
#     --build-arg CUDA=1 .                                                    # train and mine
# CUDA=0 (the default) is for machines without GPUs. On x86-64 the package index's own torch
# is a CUDA build, so name the index of torch's CPU wheels that your site uses:
#   docker build --target cluster -t relabel-service/cluster:0.1.0 \
#     --build-arg TORCH_INDEX=<that index> .
# The build fails, rather than ship gigabytes unseen, if torch is not the kind asked for.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY relabel_service ./relabel_service
COPY cluster ./cluster
COPY jobs ./jobs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS serve-packages
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c /constraints.txt "$(echo /wheels/relabel_service-*.whl)[serve]" \
 && python -c "import relabel_service.server.app"

FROM ${PYTHON_IMAGE} AS cluster-packages
ARG CUDA=0
ARG TORCH_INDEX=
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c /constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch \
 && CUDA="$CUDA" python -c "import os, torch; got, asked = torch.version.cuda, os.environ['CUDA'] == '1'; assert bool(got) == asked, f'torch is built for CUDA {got}, CUDA=1 asked: {asked}; see TORCH_INDEX in the Dockerfile'" \
 && pip install --no-cache-dir -c /constraints.txt "$(echo /wheels/relabel_service-*.whl)[cluster]"

# What both images share: a user without rights, and a folder for a local queue.
FROM ${PYTHON_IMAGE} AS runtime
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0
RUN useradd --uid 1000 --create-home relabel \
 && install --directory --owner=1000 --group=1000 /data
WORKDIR /home/relabel

FROM runtime AS serve
COPY --from=serve-packages /usr/local /usr/local
USER 1000:1000
# gRPC, and Serve's HTTP port, which only answers health checks
EXPOSE 9000 8000
CMD ["relabel", "serve", "--host", "0.0.0.0", "--queue", "sqlite:////data/queue.db"]

FROM runtime AS cluster
COPY --from=cluster-packages /usr/local /usr/local
# Ray workers and drivers import these from here, whatever their folder: the demo lies beside them.
COPY cluster /app/cluster
COPY jobs /app/jobs
# For jobs.loop --demo, which looks for it beside jobs
COPY tests/data/text_classification/vader_tweets /app/tests/data/text_classification/vader_tweets
ENV PYTHONPATH=/app
USER 1000:1000
CMD ["python", "-m", "jobs.mine", "--help"]
