# The hub: one image for all four services. docker build -f deploy/docker/hub.Dockerfile .
FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package roadstead-cli --bin roadstead \
    && install -D target/release/roadstead /out/roadstead \
    && install -d /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/roadstead /usr/local/bin/roadstead
COPY --from=build --chown=65532:65532 /out/data /var/lib/roadstead
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/roadstead"]
CMD ["--help"]
