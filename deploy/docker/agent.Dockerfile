# The agent that runs in a cluster. docker build -f deploy/docker/agent.Dockerfile .
FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package roadstead-agent --bin roadstead-agent \
    && install -D target/release/roadstead-agent /out/roadstead-agent

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/roadstead-agent /usr/local/bin/roadstead-agent
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/roadstead-agent"]
CMD ["run"]
