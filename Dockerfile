# The container that is submitted. Layers from the slowest to the fastest changing: dependencies,
# weights, code. `make image` builds it; docs/running.md tells how it is run.
ARG BASE=python:3.11-slim-bookworm

# Empty, unless the build names a folder of wheels: --build-context wheels=DIR
FROM scratch AS wheels

FROM ${BASE}

# cpu, cuda13 or, with TORCH_INDEX, another build of the same torch; see container/install.sh
ARG TORCH_BUILD=""
ARG TORCH_INDEX=""
# The names of the wheels, because a cached layer does not tell what was mounted.
ARG WHEELS=""
COPY container/ /usr/share/tusrec/
RUN --mount=type=bind,from=wheels,target=/wheels \
    sh /usr/share/tusrec/install.sh /wheels "${TORCH_BUILD}" "${TORCH_INDEX}"

# The mount points are in the image, because Apptainer cannot make them in a read-only one.
WORKDIR /home/TUS-REC2025
RUN mkdir data results /input /output

COPY weights/ weights/
COPY LICENSE THIRD_PARTY_LICENSES.md ./
COPY tusrec/ tusrec/
COPY model/ model/
COPY view/ view/
COPY pipeline/ pipeline/
COPY predict.py predict_ddfs.py evaluate.py reconstruct.py ./
# A checkout's files may be closed to all but their owner, and COPY keeps that. Nothing can be
# compiled later on a read-only root. Checked hashes, because the organisers may lay their own files
# over ours.
RUN chmod -R a+rX . && python -m compileall -q --invalidation-mode checked-hash .

# Threads that spin while they wait make a run on busy cores several times longer.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    OMP_WAIT_POLICY=PASSIVE

ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=""
LABEL org.opencontainers.image.title="tusrec" \
      org.opencontainers.image.description="Trackerless 3D freehand ultrasound reconstruction for the TUS-REC challenge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# The first user of most Linux machines, so that a results folder made there can be written.
USER 1000:1000
ENTRYPOINT ["python", "/home/TUS-REC2025/predict.py"]
