# The operator's image: both programs on a base without a shell; and, as target must-gather, the same programs with the
# tools that `oc adm must-gather` needs. docs/operations.md, "The image", has the commands.
# The defaults name images by tag; how to pin them by digest is there, too.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG MUST_GATHER_BASE=debian:12-slim

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# Pages of 64 KiB, as some kernels of arm64 have, suit the kernels with smaller ones as well.
ARG REVISION=unknown
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,id=target-${TARGETPLATFORM},target=/src/target \
    export DEBUGBUNDLE_COMMIT="$REVISION" \
 && if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
 && cargo build --release --locked --package debugbundle-operator --bins \
 && install -D --target-directory=/programs target/release/debugbundle-operator target/release/kubectl-debugbundle

# `oc` runs it as bash, with a second container that sleeps, and copies the result out of that with rsync, else tar.
FROM ${MUST_GATHER_BASE} AS must-gather
# `oc` ends a gathering that fills the volume with setsid, ps and pkill.
RUN { command -v rsync && command -v pkill && command -v ps; } || { apt-get update && apt-get install -y --no-install-recommends ca-certificates procps rsync && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /programs/ /
COPY deploy/must-gather/gather /usr/bin/gather
ARG REVISION=unknown
LABEL org.opencontainers.image.title="debugbundle-must-gather" \
      org.opencontainers.image.description="Makes the debug bundle of a Velero backup or restore for oc adm must-gather." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["/usr/bin/gather"]

FROM ${BASE} AS operator
ARG REVISION=unknown
LABEL org.opencontainers.image.title="debugbundle-operator" \
      org.opencontainers.image.description="Makes, explains and delivers the debug bundle of a Velero backup or restore, from inside the cluster." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /programs/ /
USER 65532:65532
ENTRYPOINT ["/debugbundle-operator"]
